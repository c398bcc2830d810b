//! Quantities, times and files as the configuration writes them, parsed once.
//!
//! Each is a text with a named form: the name stands in the JSON Schema (`format`), and the check
//! that the schema's reader runs for it is the type's own [`FromStr`], so the two cannot differ.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::clock::UnixTime;
use crate::domain::duration;
pub(super) use crate::domain::form::{WrongForm, require};
use crate::store;

/// A text with a named form.
pub(super) trait TextValue: FromStr<Err = WrongForm> {
    /// The form's name in the schema.
    const FORMAT: &'static str;
    /// What is expected, for messages.
    const SHAPE: &'static str;
}

/// Ties a type to its form: reading by serde, and the schema.
macro_rules! text_value {
    ($type:ty, $format:literal, $shape:literal) => {
        impl $crate::config::value::TextValue for $type {
            const FORMAT: &'static str = $format;
            const SHAPE: &'static str = $shape;
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                $format.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "format": $format })
            }
        }
    };
}
pub(super) use text_value;

/// A length of time, written as Go does (`1h30m`), with `d` for days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GoDuration(pub Duration);

// Not `duration`: under that name JSON Schema knows durations of ISO 8601.
text_value!(
    GoDuration,
    "go-duration",
    "a duration such as `30s`, `1h30m` or `7d`"
);

impl FromStr for GoDuration {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        duration::parse(text).map(Self).map_err(WrongForm)
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&duration::written(self.0))
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number of bytes: `64KiB`, `1MiB`, `2GiB`, or bare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub u64);

impl TextValue for Size {
    const FORMAT: &'static str = "size";
    const SHAPE: &'static str = "a size such as `64KiB`, `10MiB` or a number of bytes";
}

impl FromStr for Size {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        let (number, unit) = text.split_at(
            text.find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len()),
        );
        let shift = match unit {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(WrongForm("the unit must be B, KiB, MiB or GiB")),
        };
        let number: u64 = number
            .parse()
            .map_err(|_| WrongForm("the number is missing or too large"))?;
        number
            .checked_mul(1 << shift)
            .map(Self)
            .ok_or(WrongForm("it is too large"))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Bytes(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Bytes(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Self::FORMAT.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string", "format": Self::FORMAT },
            { "type": "integer", "minimum": 0 },
        ] })
    }
}

/// A share, written in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Percent(pub f64);

text_value!(Percent, "percent", "a percentage such as `75%`");

impl FromStr for Percent {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        let number = text
            .strip_suffix('%')
            .ok_or(WrongForm("the percent sign is missing"))?;
        if number.is_empty()
            || number.len() > 8
            || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        {
            return Err(WrongForm("the number is missing or malformed"));
        }
        let percent: f64 = number
            .parse()
            .map_err(|_| WrongForm("the number is missing or malformed"))?;
        Ok(Self(percent / 100.0))
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}%", self.0 * 100.0))
    }
}

/// A path in the file system; relative ones start in the working directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilePath(pub PathBuf);

text_value!(FilePath, "file-path", "a file path");

impl FromStr for FilePath {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        match text {
            "" => Err(WrongForm("it is empty")),
            _ if text.contains('\0') => Err(WrongForm("it holds a NUL character")),
            _ => Ok(Self(text.into())),
        }
    }
}

impl Serialize for FilePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.display())
    }
}

/// Where the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoreUrl(pub store::Config);

text_value!(
    StoreUrl,
    "store-url",
    "a store such as `sqlite:./data/m2m.db` or `sqlite::memory:`"
);

impl FromStr for StoreUrl {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        let path = text
            .strip_prefix("sqlite:")
            .ok_or(WrongForm("it must begin with `sqlite:`"))?;
        match path.strip_prefix("//").unwrap_or(path) {
            ":memory:" => Ok(Self(store::Config::SqliteMemory)),
            "" => Err(WrongForm("the file is missing")),
            path if path.contains(['?', '\0']) => {
                Err(WrongForm("`?` cannot stand in it: there are no options"))
            }
            path => Ok(Self(store::Config::SqliteFile(path.into()))),
        }
    }
}

impl Serialize for StoreUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            store::Config::SqliteMemory => serializer.serialize_str("sqlite::memory:"),
            store::Config::SqliteFile(path) => {
                serializer.collect_str(&format_args!("sqlite:{}", path.display()))
            }
        }
    }
}

/// A moment, as RFC 3339 writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timestamp(pub UnixTime);

text_value!(
    Timestamp,
    "date-time",
    "a time such as `2027-01-01T00:00:00Z`"
);

impl FromStr for Timestamp {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        let time = UnixTime::from_rfc3339(text).map(Self);
        time.ok_or(WrongForm(
            "it must be a date, `T`, a time and `Z` or an offset (RFC 3339)",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos_and_days() {
        for (text, expected) in [
            ("0", Duration::ZERO),
            ("0s", Duration::ZERO),
            ("30s", Duration::from_secs(30)),
            ("1h30m", Duration::from_secs(5400)),
            ("250ms", Duration::from_millis(250)),
            ("1.5h", Duration::from_secs(5400)),
            (".5s", Duration::from_millis(500)),
            ("1.s", Duration::from_secs(1)),
            ("30d", Duration::from_secs(30 * 86_400)),
            ("1d12h", Duration::from_secs(36 * 3600)),
            ("5us", Duration::from_micros(5)),
            ("5µs", Duration::from_micros(5)),
            ("7ns", Duration::from_nanos(7)),
            ("0s0s1s", Duration::from_secs(1)),
        ] {
            assert_eq!(text.parse(), Ok(GoDuration(expected)), "{text}");
        }
        for text in [
            "",
            "s",
            "30",
            "-1s",
            "+1s",
            "1h 30m",
            "1w",
            "1.2.3s",
            ".s",
            "1e3s",
            "9999999999999999999s",
            "300000d",
        ] {
            assert!(text.parse::<GoDuration>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_print_as_they_are_read() {
        for text in ["0s", "30s", "1h30m", "250ms", "24h", "1h1m1s1ms1us1ns"] {
            assert_eq!(text.parse::<GoDuration>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn sizes_are_binary() {
        for (text, expected) in [
            ("0", 0),
            ("17", 17),
            ("17B", 17),
            ("64KiB", 65_536),
            ("1MiB", 1 << 20),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Size(expected)), "{text}");
        }
        for text in [
            "",
            "KiB",
            "64kb",
            "64KB",
            "64 KiB",
            "-1",
            "1.5MiB",
            "99999999999999999999",
            "99999999999999GiB",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn percentages_need_their_sign() {
        assert_eq!("75%".parse(), Ok(Percent(0.75)));
        assert_eq!("12.5%".parse(), Ok(Percent(0.125)));
        for text in [
            "75", "%", "0.75", "-5%", "1e2%", "..%", "NaN%", "inf%", "75 %",
        ] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }

    #[test]
    fn stores_are_sqlite() {
        let file = |path: &str| Ok(StoreUrl(store::Config::SqliteFile(path.into())));
        assert_eq!(
            "sqlite::memory:".parse(),
            Ok(StoreUrl(store::Config::SqliteMemory))
        );
        assert_eq!("sqlite:./data/m2m.db".parse(), file("./data/m2m.db"));
        assert_eq!("sqlite:///var/m2m.db".parse(), file("/var/m2m.db"));
        for text in [
            "",
            "sqlite:",
            "sqlite://",
            "./data/m2m.db",
            "mysql://x",
            "sqlite:x?mode=rw",
        ] {
            assert!(text.parse::<StoreUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!("1970-01-01T00:00:10Z".parse(), Ok(Timestamp(UnixTime(10))));
        assert_eq!(
            "2027-01-01T01:00:00+01:00".parse(),
            Ok(Timestamp(UnixTime(1_798_761_600)))
        );
        for text in [
            "",
            "2027-01-01",
            "2027-01-01 00:00",
            "2027-01-01T00:00:00",
            "2027-13-01T00:00:00Z",
            "1798761600",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
