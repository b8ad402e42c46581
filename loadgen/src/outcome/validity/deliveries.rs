//! Whether messages were delivered as the protocol and the load require.
//!
//! Invariants: a loss is a fault unless QoS 0 and a full socket allow it, or the user does; deliveries that a deadline
//! cut off and that nothing overtook are not lost.

use mqtt::packet::QoS;

use super::finding::Findings;
use super::{Evidence, percent};
use crate::measure::ledger::Totals;

impl Evidence {
    /// Whether messages were delivered as the protocol and the load require.
    pub(super) fn check_ledger(&self, findings: &mut Findings) -> bool {
        let Totals {
            duplicate,
            reordered,
            foreign,
            unowed,
            ..
        } = self.ledger;
        let before = findings.faults();
        self.report_losses(findings);
        for (count, what) in self.differences.named() {
            findings.add(
                true,
                format!("{count} deliveries came with another {what} than was sent"),
            );
        }
        if unowed > 0 {
            findings.note(format!(
                "{unowed} deliveries did not come and were not owed: their connection broke while they were \
                in flight, or their subscriber was disconnected"
            ));
        }
        if duplicate > 0 {
            let allowed = self.qos == Some(QoS::AtLeastOnce);
            findings.add(!allowed, format!("{duplicate} deliveries came more than once"));
        }
        if reordered > 0 {
            findings.add(
                true,
                format!("{reordered} deliveries came out of order [MQTT-4.6.0-6]"),
            );
        }
        if foreign > 0 {
            findings.warn(format!(
                "{foreign} messages came that this run did not send there: is another program using its topics?"
            ));
        }
        if self.broken > 0 {
            let causes = self.causes.join("; ");
            findings.add(
                !self.reconnects,
                format!(
                    "{} connections broke during the load, {} were made again: {causes}",
                    self.broken, self.reconnected
                ),
            );
        }
        if self.refused > 0 {
            findings.add(
                true,
                format!("the broker refused {} publishes with a reason code", self.refused),
            );
        }
        findings.faults() > before
    }

    /// Deliveries that were lost: a fault unless QoS 0 and full sockets allow it, or the user does.
    fn report_losses(&self, findings: &mut Findings) {
        let Totals { expected, lost, .. } = self.ledger;
        let outstanding = self.outstanding();
        // A message with a wrong payload did arrive.
        let lost = (lost - outstanding).saturating_sub(self.differences.payload);
        let acknowledged = self.qos.is_some_and(|qos| qos != QoS::AtMostOnce);
        let allowed = !acknowledged && (self.flood || self.found_sockets_full() || self.allow_loss);
        let bridged = if self.crosses_hosts {
            "; subscribers receive from publishers on other hosts, which only brokers that are bridged forward"
        } else {
            ""
        };
        if outstanding > 0 {
            let when = self
                .drain_cut_off
                .map_or("when nothing moved any more".to_owned(), |drain| {
                    format!("{} s after the load", drain.as_secs_f64())
                });
            let others = match () {
                () if self.still_coming => "others were still coming: give a longer --drain",
                () if self.own.is_starved() => "the generator had too little CPU to see whether they would",
                () if acknowledged => {
                    "nothing else came: they are late, or they are lost although they were published with QoS 1 or 2; \
                     give a longer --drain"
                }
                () => "nothing else came: they are late or they are lost; give a longer --drain",
            };
            // A deadline proves no loss, but without progress a run cannot be called good either.
            let fault = !self.still_coming && !self.own.is_starved() && !allowed;
            findings.add(
                fault || self.no_loss,
                format!("{outstanding} of {expected} deliveries had not come {when}, and {others}{bridged}"),
            );
        }
        if lost == 0 {
            return;
        }
        let why = match () {
            () if acknowledged => "although they were published with QoS 1 or 2".to_owned(),
            () if self.flood => "as QoS 0 allows in a flood".to_owned(),
            () if self.found_sockets_full() => format!(
                "as QoS 0 allows where sockets are full: {:.1} % of the messages waited for the broker",
                self.waited_percent()
            ),
            () if self.allow_loss => "as --allow-loss allows".to_owned(),
            () => "although no socket was full".to_owned(),
        };
        let share = percent(lost, expected);
        findings.add(
            !allowed || self.no_loss,
            format!("{lost} of {expected} deliveries were lost ({share:.3} %), {why}{bridged}"),
        );
        if let Some(drain) = self
            .drain_cut_off
            .filter(|_| outstanding == 0 && self.still_coming)
        {
            findings.warn(format!(
                "deliveries were still coming {} s after the load and count as lost from then on: give a longer \
                 --drain",
                drain.as_secs_f64()
            ));
        }
    }

    /// Deliveries that a deadline cut off and that nothing overtook: they may still arrive, so they are not lost.
    fn outstanding(&self) -> u64 {
        // A generator without CPU time does not read what has arrived, and would interpret that as silence.
        if self.own.is_starved() || (self.has_schedule && self.drain_cut_off.is_some()) {
            self.ledger.lost.saturating_sub(self.overtaken)
        } else {
            0
        }
    }
}
