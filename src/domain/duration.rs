//! Durations in Go's notation (`1h30m`), with `d` for days.

use std::time::Duration;

/// Units in nanoseconds; the longer one first if they share a prefix.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Parses a duration.
///
/// # Errors
/// The reason. It is a constant, because the text may be a secret in the wrong place.
pub fn parse(text: &str) -> Result<Duration, &'static str> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if !matches!(text.len(), 1..=64) {
        return Err("it is empty or too long");
    }
    let mut rest = text;
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let (number, after) = split_while(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, after) = split_while(after, |c| c.is_ascii_alphabetic() || c == 'µ');
        let Some((_, nanoseconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err("each number needs a unit of d, h, m, s, ms, us or ns");
        };
        total += scaled(number, *nanoseconds)?;
        rest = after;
    }
    // Go's own limit, about 292 years.
    let nanoseconds = i64::try_from(total)
        .ok()
        .and_then(|nanoseconds| u64::try_from(nanoseconds).ok());
    nanoseconds
        .map(Duration::from_nanos)
        .ok_or("it is too long")
}

/// Formats a duration so that [`parse`] reads it again.
#[must_use]
pub fn written(duration: Duration) -> String {
    joined(duration, "")
}

/// Formats a duration for people: `30 s`, `1 m 30 s`.
#[must_use]
pub fn spoken(duration: Duration) -> String {
    joined(duration, " ")
}

/// Formats a duration with a separator between numbers and units.
fn joined(duration: Duration, space: &str) -> String {
    let mut rest = duration.as_nanos();
    if rest == 0 {
        return format!("0{space}s");
    }
    let mut text = String::new();
    for unit in ["h", "m", "s", "ms", "us", "ns"] {
        let size = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map_or(1, |(_, size)| *size);
        if rest >= size {
            if !text.is_empty() {
                text.push_str(space);
            }
            text.push_str(&format!("{}{space}{unit}", rest / size));
            rest %= size;
        }
    }
    text
}

fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// A decimal number times a unit, without the rounding of a float.
fn scaled(number: &str, unit: u128) -> Result<u128, &'static str> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return Err("a number is missing or malformed");
    }
    if whole.len() > 18 || fraction.len() > 15 {
        return Err("a number has too many digits");
    }
    let parse = |text: &str| {
        if text.is_empty() {
            0
        } else {
            text.parse::<u128>().unwrap_or(0)
        }
    };
    let divisor = fraction.bytes().fold(1, |divisor: u128, _| divisor * 10);
    Ok(parse(whole) * unit + parse(fraction) * unit / divisor)
}

/// A duration as a number of whole seconds, for serde's `with`.
pub mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::ref_option, reason = "serde's signature")]
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.map(|it| it.as_secs()).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<u64>::deserialize(deserializer)?;
        Ok(seconds.map(Duration::from_secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_for_people_have_spaces() {
        for (millis, text) in [
            (0, "0 s"),
            (300, "300 ms"),
            (30_000, "30 s"),
            (5_400_000, "1 h 30 m"),
        ] {
            assert_eq!(spoken(Duration::from_millis(millis)), text);
        }
    }
}
