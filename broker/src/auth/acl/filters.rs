//! Relations between the Topic Filters of rules and subscriptions.
//!
//! Invariants: a wildcard in the first level does not match a topic that begins with `$` [MQTT-4.7.2-1].

/// Whether there is a Topic Name that both filters match.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    if hides_dollar(one, other) || hides_dollar(other, one) {
        return false;
    }
    let (mut ones, mut others) = (one.split('/'), other.split('/'));
    loop {
        match (ones.next(), others.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// Whether `wide` matches each Topic Name that `narrow` matches.
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    if hides_dollar(wide, narrow) {
        return false;
    }
    let (mut wides, mut narrows) = (wide.split('/'), narrow.split('/'));
    loop {
        match (wides.next(), narrows.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some(_), Some("#")) => return false,
            (Some("+"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

/// A wildcard in the first level does not match a topic that begins with `$` [MQTT-4.7.2-1].
fn hides_dollar(wild: &str, other: &str) -> bool {
    wild.starts_with(['+', '#']) && other.starts_with('$')
}
