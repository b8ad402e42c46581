//! The injected faults, with the correct verdict for each.
//!
//! Invariant: the correct verdict follows from the fault and not from what the generator concludes.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::Proof;
use super::answer::Answer;
use super::proxy::PathFault;
use crate::outcome::validity::LimitedBy;
use crate::system::cpus::Cpus;

/// A fault that is injected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// There is no fault.
    Nothing,
    /// This fault of the path from the broker.
    Path(PathFault),
    /// Busy loops run on one of the generator's cores.
    BusyCore,
    /// A control group gives it a tenth of a core.
    Quota,
}

/// One fault with its load and the correct verdict.
#[derive(Clone, Copy)]
pub struct Case {
    /// The name for `--case`.
    pub name: &'static str,
    /// The description of the fault.
    pub done: &'static str,
    /// The fault that is played.
    pub fault: Fault,
    /// The subcommand and the load.
    load: &'static str,
    /// Whether a generator that exits with 0 has missed the fault.
    must_fail: bool,
    /// The description of the correct verdict.
    pub right: &'static str,
    /// Whether a verdict is correct.
    pub is_right: fn(&Answer) -> bool,
}

impl Case {
    /// The arguments of this generator; `None` if the machine has too few CPUs for the case.
    pub(super) fn words(&self, port: u16, outcome: &Path, busy: Option<usize>) -> Option<Vec<OsString>> {
        let mut words: Vec<OsString> = self.load.split_whitespace().map(OsString::from).collect();
        words.extend(["-h", "127.0.0.1", "-p", &port.to_string()].map(OsString::from));
        if let Some(core) = busy {
            let other = Cpus::allowed().except(&core.to_string().parse().ok()?);
            let cpus = if self.load.contains(TWO_THREADS) {
                format!("{},{core}", other?.one(0))
            } else {
                core.to_string()
            };
            words.extend(["--cpus".into(), cpus.into()]);
        }
        words.extend(["--json".into(), outcome.into()]);
        Some(words)
    }

    /// Whether another generator, of which only the exit code is interpreted, noticed the fault.
    pub(super) fn noticed_by_another(&self, answer: &Answer) -> Proof {
        match (self.must_fail, answer.exit_code) {
            (true, 0) => Proof::Wrong,
            // An exit code of 128 or above is a crash.
            (true, 1..128) | (false, 0) => Proof::Right,
            _ => Proof::Unproven,
        }
    }
}

/// The arguments of another generator: `%p` is the port and `%h` the host.
pub(super) fn of_another(command: &[String], port: u16) -> Vec<OsString> {
    let put = |word: &String| {
        word.replace("%p", &port.to_string())
            .replace("%h", "127.0.0.1")
            .into()
    };
    command.iter().map(put).collect()
}

const MS: f64 = 1e6;

/// Two publishers and two subscribers at 400 messages a second, with `rest`.
macro_rules! scheduled {
    ($rest:literal) => {
        concat!(
            "run --pubs 2 --subs 2 --rate 400 --warmup 0.2 --duration 2 --drain 1 ",
            $rest
        )
    };
}

/// A load without enough CPU time.
macro_rules! starved {
    ($load:literal) => {
        concat!($load, " --warmup 0.2")
    };
}

const TWO_THREADS: &str = "--threads 2";

fn drops_right(answer: &Answer, one_in: f64) -> bool {
    let percent = answer.never_came_percent();
    answer.exit_code == 1
        && answer.found("although no socket was full")
        && (percent - 100.0 / one_in).abs() < 30.0 / one_in
}

fn starved_right(answer: &Answer) -> bool {
    answer.exit_code == 4
        && answer.is_limited_by(LimitedBy::Generator)
        && !answer.found("were lost")
        && !answer.found("the broker was the bottleneck")
}

const DROPPED: &str = "exit 1: lost although no socket was full, and the share that was dropped";
const STARVED: &str = "exit 4: invalid, the generator had no CPU; nothing is called lost";

/// All cases, in the order in which they are played.
pub const ALL: &[Case] = &[
    Case {
        name: "nothing",
        done: "the path passes everything on",
        fault: Fault::Path(PathFault::Nothing),
        load: scheduled!(""),
        must_fail: false,
        right: "exit 0: valid",
        is_right: |answer| answer.exit_code == 0,
    },
    Case {
        name: "delay",
        done: "the path takes 20 ms",
        fault: Fault::Path(PathFault::Delay(Duration::from_millis(20))),
        load: scheduled!(""),
        must_fail: false,
        right: "exit 0: valid, p50 from 20 to 25 ms",
        is_right: |answer| {
            answer.exit_code == 0
                && (20.0..25.0).contains(&(answer.latency_ns(|latency| latency.p50_ns) / MS))
        },
    },
    Case {
        name: "stall",
        done: "the path stalls once for 400 ms",
        fault: Fault::Path(PathFault::Stall {
            after: Duration::from_millis(900),
            length: Duration::from_millis(400),
        }),
        load: scheduled!(""),
        must_fail: false,
        right: "exit 0: the highest latency about 400 ms, and p99 too, as a fifth of the messages waited",
        is_right: |answer| {
            answer.exit_code == 0
                && (350.0..500.0).contains(&(answer.latency_ns(|latency| latency.max_ns) / MS))
                && answer.latency_ns(|latency| latency.p99_ns) / MS > 300.0
                && answer.latency_ns(|latency| latency.p50_ns) / MS < 50.0
        },
    },
    Case {
        name: "drop-60",
        done: "the path drops 1 PUBLISH in 60 at QoS 0",
        fault: Fault::Path(PathFault::DropOneIn(60)),
        load: scheduled!(""),
        must_fail: true,
        right: DROPPED,
        is_right: |answer| drops_right(answer, 60.0),
    },
    Case {
        name: "drop-5",
        done: "the path drops 1 PUBLISH in 5 at QoS 0",
        fault: Fault::Path(PathFault::DropOneIn(5)),
        load: scheduled!(""),
        must_fail: true,
        right: DROPPED,
        is_right: |answer| drops_right(answer, 5.0),
    },
    Case {
        name: "drop-2",
        done: "the path drops 1 PUBLISH in 2 at QoS 0",
        fault: Fault::Path(PathFault::DropOneIn(2)),
        load: scheduled!(""),
        must_fail: true,
        right: DROPPED,
        is_right: |answer| drops_right(answer, 2.0),
    },
    Case {
        name: "drop-allowed",
        done: "the path drops 1 PUBLISH in 5 at QoS 0, and --allow-loss is given",
        fault: Fault::Path(PathFault::DropOneIn(5)),
        load: scheduled!("--allow-loss"),
        must_fail: false,
        right: "exit 0: lost, as --allow-loss allows",
        is_right: |answer| answer.exit_code == 0 && answer.found("as --allow-loss allows"),
    },
    Case {
        name: "duplicate",
        done: "the path repeats 1 PUBLISH in 50 at QoS 0",
        fault: Fault::Path(PathFault::RepeatOneIn(50)),
        load: scheduled!(""),
        must_fail: true,
        right: "exit 1: deliveries came more than once",
        is_right: |answer| answer.exit_code == 1 && answer.found("came more than once"),
    },
    Case {
        name: "duplicate-q2",
        done: "the path repeats 1 PUBLISH in 50 at QoS 2",
        fault: Fault::Path(PathFault::RepeatOneIn(50)),
        load: scheduled!("-q 2"),
        must_fail: true,
        right: "exit 1: deliveries came more than once",
        is_right: |answer| answer.exit_code == 1 && answer.found("came more than once"),
    },
    Case {
        name: "swap",
        done: "the path swaps 1 PUBLISH in 50 with the next",
        fault: Fault::Path(PathFault::SwapOneIn(50)),
        load: scheduled!(""),
        must_fail: true,
        right: "exit 1: deliveries came out of order",
        is_right: |answer| answer.exit_code == 1 && answer.found("out of order"),
    },
    Case {
        name: "corrupt",
        done: "the path flips a bit in the last byte of 1 PUBLISH in 50",
        fault: Fault::Path(PathFault::FlipOneIn(50)),
        load: scheduled!(""),
        must_fail: true,
        right: "exit 1: another payload than was sent",
        is_right: |answer| answer.exit_code == 1 && answer.found("another payload than was sent"),
    },
    Case {
        name: "cut",
        done: "the path cuts each connection after 800 ms",
        fault: Fault::Path(PathFault::Cut(Duration::from_millis(800))),
        load: scheduled!(""),
        must_fail: true,
        right: "exit 1: connections broke; what nobody was owed is not lost",
        is_right: |answer| {
            answer.exit_code == 1 && answer.found("connections broke") && !answer.found("were lost")
        },
    },
    Case {
        name: "cut-reconnect",
        done: "the path cuts each connection after 800 ms, again and again, at QoS 1 with --reconnect",
        fault: Fault::Path(PathFault::Cut(Duration::from_millis(800))),
        load: scheduled!("-q 1 --reconnect"),
        must_fail: false,
        right: "exit 0: the connections were the limit; nothing that was owed is lost",
        is_right: |answer| {
            answer.exit_code == 0
                && answer.is_limited_by(LimitedBy::Network)
                && !answer.found("were lost")
                && answer.found("were not owed")
        },
    },
    Case {
        name: "half",
        done: "the path carries half of the offered rate",
        // A PUBLISH of 64 B is 84 B on the wire; each subscriber is due 200 a second.
        fault: Fault::Path(PathFault::BytesPerSecond(8_400)),
        load: scheduled!(""),
        must_fail: true,
        right: "exit 5: the offered rate was not carried; what never came counts in the p99",
        is_right: |answer| {
            answer.exit_code == 5
                && answer.found("did not carry the offered rate")
                && !answer.found("were lost")
                && answer.never_came_percent() > 5.0
                && answer.latency_ns(|latency| latency.p99_ns) >= 0.9e9
        },
    },
    Case {
        name: "quota",
        done: "a control group gives the generator a tenth of a core",
        fault: Fault::Quota,
        load: "run --pubs 4 --subs 4 --rate 20000 -q 1 --threads 1 --warmup 0.5 --duration 2 --drain 2",
        must_fail: true,
        right: "exit 4: invalid, the quota and how long it throttled; nothing is called lost",
        is_right: |answer| starved_right(answer) && answer.found("the CPU quota of 0.10 cores"),
    },
    Case {
        name: "busy-core",
        done: "busy loops on the generator's core, at a rate",
        fault: Fault::BusyCore,
        load: starved!("run --pubs 2 --subs 2 --rate 2000 -q 1 --duration 1 --threads 1"),
        must_fail: true,
        right: STARVED,
        is_right: starved_right,
    },
    Case {
        name: "busy-core-closed-loop",
        done: "busy loops on the generator's core, in a closed loop",
        fault: Fault::BusyCore,
        load: starved!("run --pubs 2 --subs 2 --rate max --window 10 --duration 1 --threads 1"),
        must_fail: true,
        right: STARVED,
        is_right: starved_right,
    },
    Case {
        name: "busy-core-flood",
        done: "busy loops on the generator's core, in a flood",
        fault: Fault::BusyCore,
        load: starved!("run --pubs 2 --subs 2 --rate flood --duration 0.5 --drain 20 --threads 1"),
        must_fail: true,
        right: STARVED,
        is_right: starved_right,
    },
    Case {
        name: "busy-core-connects",
        done: "busy loops on the generator's core, while it connects as fast as it can",
        fault: Fault::BusyCore,
        load: starved!("conn --concurrency 2 --duration 1 --threads 1"),
        must_fail: true,
        right: STARVED,
        is_right: starved_right,
    },
    Case {
        name: "busy-receiver",
        done: "busy loops on the core of the thread that only receives",
        fault: Fault::BusyCore,
        load: starved!("run --pubs 1 --subs 2 --topics fan-out --rate 500 --duration 1 --threads 2"),
        must_fail: true,
        right: "exit 4, or the thread is named and the time from arrival to read is not what makes the p99",
        is_right: |answer| {
            let read_p99_ns = answer.read_delay_p99_ns();
            starved_right(answer)
                || (answer.found("generator thread 1 was ready and had no CPU")
                    && read_p99_ns < answer.latency_ns(|latency| latency.p99_ns) / 2.0)
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_case_is_right_about_nothing_said_and_names_are_unique() {
        for (place, case) in ALL.iter().enumerate() {
            let nothing = Answer {
                exit_code: -1,
                ..Answer::default()
            };
            assert!(!(case.is_right)(&nothing), "{}", case.name);
            assert!(ALL.iter().skip(place + 1).all(|other| other.name != case.name));
        }
    }

    #[test]
    fn another_generator_is_asked_for_its_exit_code() {
        let words = of_another(&["bench".to_owned(), "-h=%h".to_owned(), "%p".to_owned()], 1883);
        assert_eq!(words, ["bench", "-h=127.0.0.1", "1883"]);
        let answer = |exit_code| Answer {
            exit_code,
            ..Answer::default()
        };
        let case = |name: &str| ALL.iter().find(|case| case.name == name).unwrap();
        assert_eq!(case("drop-5").noticed_by_another(&answer(0)), Proof::Wrong);
        assert_eq!(case("drop-5").noticed_by_another(&answer(1)), Proof::Right);
        assert_eq!(case("delay").noticed_by_another(&answer(0)), Proof::Right);
        assert_eq!(case("delay").noticed_by_another(&answer(-1)), Proof::Unproven);
        assert_eq!(case("drop-5").noticed_by_another(&answer(139)), Proof::Unproven);
    }
}
