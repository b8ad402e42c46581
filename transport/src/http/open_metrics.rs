//! Pages in the text format of OpenMetrics 1.0, for Prometheus and compatible systems, or in the older text format of
//! Prometheus.
//!
//! The crate `prometheus-client` writes the same format from registries of live metrics; here the program has counted
//! them already, and a page is one pass over them.
//!
//! Invariants: each family has its TYPE and HELP before its samples, a counter's sample ends in `_total`, and a page
//! of OpenMetrics ends with `# EOF`.

use std::fmt::{Display, Write as _};

/// The media type of a page.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The media type of a page in the older format.
pub const CONTENT_TYPE_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of a page, to which families of metrics are appended.
#[derive(Debug, Default)]
pub struct OpenMetricsPage {
    text: String,
    /// Whether it is in the older text format of Prometheus.
    is_older: bool,
    /// The label of every sample, as it is written.
    every: Option<String>,
}

impl OpenMetricsPage {
    /// A page of OpenMetrics with this label in every sample.
    #[must_use]
    pub fn with_label(label: &str, value: &str) -> Self {
        Self {
            every: Some(pair(label, value)),
            ..Self::default()
        }
    }

    /// A page in the older text format of Prometheus, for clients that do not request OpenMetrics.
    #[must_use]
    pub fn older() -> Self {
        Self {
            is_older: true,
            ..Self::default()
        }
    }

    /// A fact about the program in the value of a label.
    pub fn info(&mut self, name: &str, help: &str, label: &str, value: &str) {
        if self.is_older {
            self.family(&format!("{name}_info"), "gauge", None, help);
        } else {
            self.family(name, "info", None, help);
        }
        self.sample(&format!("{name}_info"), &[label], &[value], 1);
    }

    /// Appends a counter: a number that only increases.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.counter_family(name, help);
        self.sample(&format!("{name}_total"), &[], &[], value);
    }

    /// Counters of one family, which differ in the value of a label.
    pub fn counters<'a, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        samples: impl IntoIterator<Item = (&'a str, V)>,
    ) {
        let samples = samples.into_iter().map(|(value, sample)| ([value], sample));
        self.labelled_counters(name, help, &[label], samples);
    }

    /// Counters of one family, which differ in the values of several labels.
    pub fn labelled_counters<L: AsRef<[T]>, T: AsRef<str>, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        samples: impl IntoIterator<Item = (L, V)>,
    ) {
        self.counter_family(name, help);
        for (values, sample) in samples {
            let values: Vec<_> = values.as_ref().iter().map(AsRef::as_ref).collect();
            self.sample(&format!("{name}_total"), labels, &values, sample);
        }
    }

    /// Numbers of one family that increase and decrease, and differ in the values of labels.
    pub fn labelled_gauges<L: AsRef<[T]>, T: AsRef<str>, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        samples: impl IntoIterator<Item = (L, V)>,
    ) {
        self.family(name, "gauge", None, help);
        for (values, sample) in samples {
            let values: Vec<_> = values.as_ref().iter().map(AsRef::as_ref).collect();
            self.sample(name, labels, &values, sample);
        }
    }

    /// A number that increases and decreases.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", None, help);
        self.sample(name, &[], &[], value);
    }

    /// Several numbers of one family with a unit, which is the end of its name; they differ in the value of a label.
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
            self.sample(name, &[label], &[value_of_label], value);
        }
    }

    /// A histogram with a unit, which is the end of its name: how many values are at most as large as each bound, in
    /// the order of the bounds, how many there are, and their sum. Histograms of several processes can be added up.
    pub fn histogram(
        &mut self,
        name: &str,
        unit: &str,
        help: &str,
        buckets: &[(f64, u64)],
        (count, sum): (u64, f64),
    ) {
        let one = HistogramSample {
            labels: &[],
            buckets,
            count,
            sum,
        };
        self.histograms(name, unit, help, &[], &[one]);
    }

    /// Histograms of one family, which differ in the values of labels.
    pub fn histograms(
        &mut self,
        name: &str,
        unit: &str,
        help: &str,
        labels: &[&str],
        samples: &[HistogramSample<'_>],
    ) {
        self.family(name, "histogram", Some(unit), help);
        let with_bound: Vec<_> = labels.iter().copied().chain(["le"]).collect();
        for of_labels in samples {
            let values: Vec<_> = of_labels.labels.iter().map(String::as_str).collect();
            let bucket = |page: &mut Self, bound: &str, at_most: u64| {
                let values: Vec<_> = values.iter().copied().chain([bound]).collect();
                page.sample(&format!("{name}_bucket"), &with_bound, &values, at_most);
            };
            for (bound, at_most) in of_labels.buckets {
                // OpenMetrics requires numbers of this form in `le`.
                bucket(self, &format!("{bound:?}"), *at_most);
            }
            bucket(self, "+Inf", of_labels.count);
            self.sample(&format!("{name}_count"), labels, &values, of_labels.count);
            self.sample(&format!("{name}_sum"), labels, &values, of_labels.sum);
        }
    }

    /// The page with its last line.
    #[must_use]
    pub fn finish(mut self) -> String {
        if !self.is_older {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn counter_family(&mut self, name: &str, help: &str) {
        if self.is_older {
            self.family(&format!("{name}_total"), "counter", None, help);
        } else {
            self.family(name, "counter", None, help);
        }
    }

    fn family(&mut self, name: &str, kind: &str, unit: Option<&str>, help: &str) {
        self.line(format_args!("# TYPE {name} {kind}"));
        if let Some(unit) = unit.filter(|_| !self.is_older) {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
        self.line(format_args!("# HELP {name} {}", Escaped(help)));
    }

    fn sample(&mut self, name: &str, labels: &[&str], values: &[&str], value: impl Display) {
        let own = labels.iter().zip(values).map(|(label, text)| pair(label, text));
        let pairs: Vec<_> = self.every.iter().cloned().chain(own).collect();
        match pairs.as_slice() {
            [] => self.line(format_args!("{name} {value}")),
            pairs => self.line(format_args!("{name}{{{}}} {value}", pairs.join(","))),
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _written = writeln!(self.text, "{line}");
    }
}

fn pair(label: &str, value: &str) -> String {
    format!("{label}=\"{}\"", Escaped(value))
}

/// One histogram of a family.
#[derive(Clone, Debug)]
pub struct HistogramSample<'a> {
    /// The values of its labels, in their order.
    pub labels: &'a [String],
    /// How many values are at most as large as each bound, in the order of the bounds.
    pub buckets: &'a [(f64, u64)],
    /// The total number of values.
    pub count: u64,
    /// The sum of all values, in the unit of the family.
    pub sum: f64,
}

/// A text as it is written in labels and HELP.
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
    fn a_label_of_the_page_is_on_every_sample() {
        let mut page = OpenMetricsPage::with_label("run", "a \"b\"");
        page.gauge("a_open", "Connections.", 1);
        page.counters("a_lost", "Lost.", "reason", [("full", 2)]);
        let text = page.finish();
        assert!(text.contains("a_open{run=\"a \\\"b\\\"\"} 1\n"), "{text}");
        assert!(
            text.contains("a_lost_total{run=\"a \\\"b\\\"\",reason=\"full\"} 2\n"),
            "{text}"
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

    #[test]
    fn the_older_format_and_several_labels() {
        let mut page = OpenMetricsPage::older();
        page.info("a_build", "The version.", "version", "1");
        page.labelled_counters("a_sent", "Sent.", &["type", "qos"], [(["x", "1"], 5)]);
        let bounds = [(0.5, 1)];
        let one = HistogramSample {
            labels: &["7".to_owned()],
            buckets: &bounds,
            count: 2,
            sum: 1.5,
        };
        page.histograms("a_seconds", "seconds", "Latency.", &["shard"], &[one]);
        assert_eq!(
            page.finish(),
            "# TYPE a_build_info gauge\n# HELP a_build_info The version.\na_build_info{version=\"1\"} 1\n\
             # TYPE a_sent_total counter\n# HELP a_sent_total Sent.\na_sent_total{type=\"x\",qos=\"1\"} 5\n\
             # TYPE a_seconds histogram\n# HELP a_seconds Latency.\n\
             a_seconds_bucket{shard=\"7\",le=\"0.5\"} 1\na_seconds_bucket{shard=\"7\",le=\"+Inf\"} 2\n\
             a_seconds_count{shard=\"7\"} 2\na_seconds_sum{shard=\"7\"} 1.5\n"
        );
    }
}
