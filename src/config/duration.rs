//! Durations in settings: read as `90s`, `15m` or `1h 30m`, and written the same way.

use serde::{Deserialize, Deserializer, Serializer, de::Error};
use std::time::Duration;

/// What is allowed, for messages.
pub const ALLOWED: &str = "a duration such as 90s, 15m or 7d";

/// A duration in the largest unit that it is a whole number of.
pub fn text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [(24 * 60 * 60, "d"), (60 * 60, "h"), (60, "m"), (1, "s")];
    match units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit)) {
        Some((unit, name)) if duration.subsec_nanos() == 0 && seconds > 0 => format!("{}{name}", seconds / unit),
        _ => humantime::format_duration(duration).to_string(),
    }
}

pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text(*duration))
}

pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    humantime::parse_duration(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// Writes a duration, or `never` for none.
#[allow(clippy::ref_option, reason = "the form in which serde calls it")]
pub fn serialize_or_never<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serialize(duration, to),
        None => to.serialize_str("never"),
    }
}

/// Reads a duration, or none from `never`.
pub fn deserialize_or_never<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    if text == "never" { Ok(None) } else { humantime::parse_duration(&text).map(Some).map_err(D::Error::custom) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_people_write_them() {
        for (seconds, written) in [(0, "0s"), (1, "1s"), (90, "90s"), (900, "15m"), (5400, "90m"), (604_800, "7d"), (31_536_000, "365d")] {
            assert_eq!(text(Duration::from_secs(seconds)), written);
            assert_eq!(humantime::parse_duration(written), Ok(Duration::from_secs(seconds)));
        }
        assert_eq!(text(Duration::from_millis(1500)), "1s 500ms");
    }
}
