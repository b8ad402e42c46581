//! Pages in the text format of OpenMetrics 1.0, for Prometheus and its like.
//!
//! The crate `prometheus-client` writes the same format from registries of live metrics; here the program has
//! counted them already, and a page is one pass over them.
//!
//! Invariants: each family has its TYPE and HELP before its samples, a counter's sample ends in `_total`, and the
//! page ends with `# EOF`.

use std::fmt::{Display, Write as _};

/// The media type of a page.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text of a page, to which families of metrics are appended.
#[derive(Debug, Default)]
pub struct OpenMetricsPage(String);

impl OpenMetricsPage {
    /// A fact about the program in the value of a label.
    pub fn info(&mut self, name: &str, help: &str, label: &str, value: &str) {
        self.family(name, "info", None, help);
        self.sample(&format!("{name}_info"), Some((label, value)), 1);
    }

    /// Appends a counter: a number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", None, help);
        self.sample(&format!("{name}_total"), None, value);
    }

    /// Counters of one family, which differ in the value of a label.
    pub fn counters<'a, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        samples: impl IntoIterator<Item = (&'a str, V)>,
    ) {
        self.family(name, "counter", None, help);
        for (value_of_label, value) in samples {
            self.sample(&format!("{name}_total"), Some((label, value_of_label)), value);
        }
    }

    /// A number that grows and shrinks.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", None, help);
        self.sample(name, None, value);
    }

    /// Several numbers of one family with a unit, which the name ends in; they differ in the value of a label.
    pub fn gauges<V: Display>(
        &mut self,
        name: &str,
        unit: &str,
        help: &str,
        label: &str,
        samples: &[(&str, V)],
    ) {
        self.family(name, "gauge", Some(unit), help);
        for (value_of_label, value) in samples {
            self.sample(name, Some((label, value_of_label)), value);
        }
    }

    /// A histogram of a unit, which the name ends in: how many values are at most as large as each bound, in the order
    /// of the bounds, how many there are, and their sum. Those of several processes can be added up.
    pub fn histogram(
        &mut self,
        name: &str,
        unit: &str,
        help: &str,
        buckets: &[(f64, u64)],
        (count, sum): (u64, f64),
    ) {
        self.family(name, "histogram", Some(unit), help);
        for (bound, at_most) in buckets {
            // OpenMetrics wants numbers of this form in `le`.
            let bound = format!("{bound:?}");
            self.sample(&format!("{name}_bucket"), Some(("le", &bound)), at_most);
        }
        self.sample(&format!("{name}_bucket"), Some(("le", "+Inf")), count);
        self.sample(&format!("{name}_count"), None, count);
        self.sample(&format!("{name}_sum"), None, sum);
    }

    /// The page with its last line.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.0.push_str("# EOF\n");
        self.0
    }

    fn family(&mut self, name: &str, kind: &str, unit: Option<&str>, help: &str) {
        self.line(format_args!("# TYPE {name} {kind}"));
        if let Some(unit) = unit {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
        self.line(format_args!("# HELP {name} {}", Escaped(help)));
    }

    fn sample(&mut self, name: &str, label: Option<(&str, &str)>, value: impl Display) {
        match label {
            None => self.line(format_args!("{name} {value}")),
            Some((label, text)) => self.line(format_args!("{name}{{{label}=\"{}\"}} {value}", Escaped(text))),
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _written = writeln!(self.0, "{line}");
    }
}

/// A text in the form that labels and HELP take.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_ends_with_all_values() {
        let mut page = OpenMetricsPage::default();
        let buckets = [(0.001, 3), (1.0, 5)];
        page.histogram("a_seconds", "seconds", "Latency.", &buckets, (6, 4.5));
        assert_eq!(
            page.finish(),
            "# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n# HELP a_seconds Latency.\n\
             a_seconds_bucket{le=\"0.001\"} 3\na_seconds_bucket{le=\"1.0\"} 5\n\
             a_seconds_bucket{le=\"+Inf\"} 6\na_seconds_count 6\na_seconds_sum 4.5\n# EOF\n"
        );
    }

    #[test]
    fn each_kind_of_family() {
        let mut page = OpenMetricsPage::default();
        page.info("a_build", "The version.", "version", "1\"\\\n");
        page.counter("a_sent", "Messages sent.", 7);
        page.counters("a_lost", "Lost.", "reason", [("full", 1), ("late", 2)]);
        page.gauge("a_open", "Connections.", 1.5);
        page.gauges(
            "a_seconds",
            "seconds",
            "Latency.",
            "quantile",
            &[("0.5", 0.1), ("1", 2.0)],
        );
        assert_eq!(
            page.finish(),
            "# TYPE a_build info\n# HELP a_build The version.\na_build_info{version=\"1\\\"\\\\\\n\"} 1\n\
             # TYPE a_sent counter\n# HELP a_sent Messages sent.\na_sent_total 7\n\
             # TYPE a_lost counter\n# HELP a_lost Lost.\na_lost_total{reason=\"full\"} 1\n\
             a_lost_total{reason=\"late\"} 2\n\
             # TYPE a_open gauge\n# HELP a_open Connections.\na_open 1.5\n\
             # TYPE a_seconds gauge\n# UNIT a_seconds seconds\n# HELP a_seconds Latency.\n\
             a_seconds{quantile=\"0.5\"} 0.1\na_seconds{quantile=\"1\"} 2\n# EOF\n"
        );
    }
}
