//! Reading the members of a JSON object as mosquitto does.
//!
//! Invariants: names are compared without their case, as mosquitto's JSON library does; a number is cut to its whole
//! part and to 32 bits.

use serde_json::{Map, Value};

/// An object of a command or of a file.
#[derive(Clone, Copy)]
pub(super) struct Members<'a>(&'a Map<String, Value>);

/// A member has another type than it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrongType;

impl<'a> Members<'a> {
    /// The members of a value, if that is an object.
    pub(super) fn of(value: &'a Value) -> Option<Members<'a>> {
        value.as_object().map(Members)
    }

    /// A member of any type.
    pub(super) fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).or_else(|| {
            let mut others = self.0.iter();
            others
                .find(|(other, _)| other.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        })
    }

    /// A text, if it is there.
    pub(super) fn optional_text(self, name: &str) -> Result<Option<&'a str>, WrongType> {
        self.get(name)
            .map(|value| value.as_str().ok_or(WrongType))
            .transpose()
    }

    /// A text; `None` if it is not there or no text.
    pub(super) fn text(self, name: &str) -> Option<&'a str> {
        self.get(name)?.as_str()
    }

    /// True or false, if it is there.
    pub(super) fn optional_flag(self, name: &str) -> Result<Option<bool>, WrongType> {
        self.get(name)
            .map(|value| value.as_bool().ok_or(WrongType))
            .transpose()
    }

    /// True or false; `None` if it is not there or something else.
    pub(super) fn flag(self, name: &str) -> Option<bool> {
        self.get(name)?.as_bool()
    }

    /// A number; `None` if it is not there or something else.
    pub(super) fn number(self, name: &str) -> Option<i64> {
        let number = self.get(name)?.as_f64()?;
        // Saturates, and cuts the fraction off.
        Some(i64::from(number as i32))
    }

    /// The elements of a list; `None` if it is not there or something else.
    pub(super) fn list(self, name: &str) -> Option<&'a [Value]> {
        Some(self.get(name)?.as_array()?.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_in_any_case_and_type() {
        let value =
            serde_json::json!({"UserName": "a", "priority": 1.9, "big": 1e18, "flag": true, "list": [1]});
        let fields = Members::of(&value).unwrap();
        assert_eq!(fields.text("username"), Some("a"));
        assert_eq!(fields.number("Priority"), Some(1));
        assert_eq!(fields.number("big"), Some(i64::from(i32::MAX)));
        assert_eq!(fields.text("flag"), None);
        assert_eq!(fields.optional_text("flag"), Err(WrongType));
        assert_eq!(fields.optional_text("other"), Ok(None));
        assert_eq!(fields.flag("flag"), Some(true));
        assert_eq!(fields.optional_flag("list"), Err(WrongType));
        assert_eq!(fields.list("list").map(<[Value]>::len), Some(1));
        assert!(Members::of(&Value::Null).is_none());
    }
}
