//! Quantities, times and files in the configuration, parsed once.
//!
//! Each is a text with a named form: the `format` in the JSON Schema. The check of that format is
//! the type's own [`FromStr`], so schema and parser agree.

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
    /// The expected form, for messages.
    const SHAPE: &'static str;
}

/// Implements serde and the schema for a type by its form.
macro_rules! text_value {
    ($type:ty, $format:literal, $shape:literal) => {
        impl $crate::config::value::TextValue for $type {
            const FORMAT: &'static str = $format;
            const SHAPE: &'static str = $shape;
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                use std::borrow::Cow;
                let text = <Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
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

/// A length of time in Go's notation (`1h30m`), with `d` for days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GoDuration(pub Duration);

// Not `duration`, which in JSON Schema is a duration of ISO 8601.
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

/// A path in the file system, relative to the working directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilePath(pub PathBuf);

text_value!(FilePath, "file-path", "a file path");

impl FromStr for FilePath {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        match text {
            "" => Err(WrongForm("it is empty")),
            _ if text.contains('\0') => Err(WrongForm("it contains a NUL character")),
            _ => Ok(Self(text.into())),
        }
    }
}

impl Serialize for FilePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.display())
    }
}

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
                Err(WrongForm("remove `?`: options are not supported"))
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

/// A time in the notation of RFC 3339.
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
mod tests;
