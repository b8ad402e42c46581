//! The sizes of payloads if messages differ in size: each size with its weight.
//!
//! Invariant: there is at least one size, and every weight is at least 1.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::measure::numbers::grouped;
use crate::scenario::Scenario;

/// Sizes with their weights, in the syntax of `--size`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadSizes {
    /// The text as it was given.
    text: String,
    weighted: Vec<(usize, u32)>,
}

impl PayloadSizes {
    /// The sizes in bytes, each with its weight.
    pub fn weighted(&self) -> &[(usize, u32)] {
        &self.weighted
    }

    /// The smallest size, bytes.
    pub fn smallest(&self) -> usize {
        self.weighted.iter().map(|(bytes, _)| *bytes).min().unwrap_or(0)
    }

    /// The largest size, bytes.
    pub fn largest(&self) -> usize {
        self.weighted.iter().map(|(bytes, _)| *bytes).max().unwrap_or(0)
    }

    /// Whether messages differ in size.
    pub fn differ(&self) -> bool {
        self.smallest() != self.largest()
    }

    /// The size of every payload.
    pub fn all(bytes: usize) -> PayloadSizes {
        PayloadSizes {
            text: bytes.to_string(),
            weighted: vec![(bytes, 1)],
        }
    }

    fn evenly(text: &str, smallest: usize, largest: usize) -> Result<PayloadSizes, String> {
        if smallest >= largest {
            return Err("MIN-MAX requires a MIN that is less than MAX".to_owned());
        }
        let last = STEPS_MAX.min(largest - smallest + 1) - 1;
        let step = |step: usize| (smallest + (largest - smallest) * step / last, 1);
        Ok(PayloadSizes {
            text: text.to_owned(),
            weighted: (0..=last).map(step).collect(),
        })
    }

    fn by_weight(text: &str) -> Result<PayloadSizes, String> {
        let part = |part: &str| {
            let (bytes, weight) = part.split_once(':').unwrap_or((part, "1"));
            let weight: u32 = weight.parse().ok().filter(|weight| *weight > 0).ok_or(FORMS)?;
            Ok((bytes.parse().map_err(|_| FORMS)?, weight))
        };
        let weighted: Vec<_> = text.split(',').map(part).collect::<Result<_, &str>>()?;
        if weighted.len() > STEPS_MAX {
            return Err(format!("at most {STEPS_MAX} sizes"));
        }
        Ok(PayloadSizes {
            text: text.to_owned(),
            weighted,
        })
    }
}

impl Scenario {
    /// The sizes of the payloads.
    pub fn sizes(&self) -> PayloadSizes {
        let sizes = self.payload_sizes.clone();
        sizes.unwrap_or_else(|| PayloadSizes::all(self.payload_bytes))
    }
}

impl FromStr for PayloadSizes {
    type Err = String;

    fn from_str(text: &str) -> Result<PayloadSizes, String> {
        match text.split_once('-') {
            Some((smallest, largest)) => {
                let bytes = |word: &str| word.parse::<usize>().map_err(|_| FORMS.to_owned());
                PayloadSizes::evenly(text, bytes(smallest)?, bytes(largest)?)
            }
            None => PayloadSizes::by_weight(text),
        }
    }
}

/// For people: `64 B`, or `64 to 1,024 B`.
impl fmt::Display for PayloadSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.differ() {
            write!(f, "{} to ", grouped(self.smallest() as u64))?;
        }
        write!(f, "{} B", grouped(self.largest() as u64))
    }
}

impl Serialize for PayloadSizes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for PayloadSizes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PayloadSizes, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Largest number of sizes of one load: a publisher has a packet of each. MIN-MAX has this many, evenly spaced.
const STEPS_MAX: usize = 16;
const FORMS: &str = "BYTES, MIN-MAX, or BYTES:WEIGHT,BYTES:WEIGHT,...";

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(text: &str) -> Vec<(usize, u32)> {
        text.parse::<PayloadSizes>().unwrap().weighted
    }

    #[test]
    fn one_size_a_range_and_weights() {
        assert_eq!(sizes("64"), [(64, 1)]);
        assert_eq!(sizes("64:90,1024:9,16384"), [(64, 90), (1024, 9), (16384, 1)]);
        assert_eq!(sizes("24-26"), [(24, 1), (25, 1), (26, 1)]);
        let range = sizes("100-1600");
        assert_eq!((range.len(), range[0].0, range[15].0), (16, 100, 1600));
        for wrong in ["", "a", "64:0", "64,", "9-9", "9-", "-9", "64:x"] {
            assert!(wrong.parse::<PayloadSizes>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn they_are_written_as_they_were_read() {
        let read: PayloadSizes = "64:9,1024:1".parse().unwrap();
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(written, "\"64:9,1024:1\"");
        assert_eq!(serde_json::from_str::<PayloadSizes>(&written).unwrap(), read);
        assert_eq!(read.to_string(), "64 to 1,024 B");
        assert_eq!(PayloadSizes::all(64).to_string(), "64 B");
    }
}
