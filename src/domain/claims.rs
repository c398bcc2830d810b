//! Claims of a token: strict JSON, members by type.
//!
//! Parsers disagree about JSON with a repeated member (RFC 8725 §2.4), so it is refused at every
//! depth. A member of the wrong type is an error, never "absent".

pub mod outline;

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::scope::ScopeSet;

/// A claim whose type differs from its definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("claim `{0}` has a wrong type")]
pub struct WrongType(pub &'static str);

/// The members of a JWT claims set or JOSE header.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims(Map<String, Value>);

impl From<Map<String, Value>> for Claims {
    fn from(members: Map<String, Value>) -> Self {
        Self(members)
    }
}

impl Claims {
    /// Parses a JSON object; a repeated member at any depth is an error.
    ///
    /// # Errors
    /// If the text is not a JSON object or repeats a member. The error contains no part of the
    /// text.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidJson> {
        match serde_json::from_slice::<Strict>(json) {
            Ok(Strict(Value::Object(map))) => Ok(Self(map)),
            _ => Err(InvalidJson),
        }
    }

    /// Parses a text and describes the problem and its position, for the author of the text.
    ///
    /// # Errors
    /// If the text is not a JSON object or repeats a member. The error may name that member.
    pub fn parse_or_explain(json: &[u8]) -> Result<Self, JsonFault> {
        if json.starts_with(b"\xef\xbb\xbf") {
            let what = "it begins with a byte order mark (U+FEFF); save it as UTF-8 without one"
                .to_owned();
            return Err(JsonFault {
                what,
                line: 1,
                column: 1,
            });
        }
        match serde_json::from_slice::<Strict>(json) {
            Ok(Strict(Value::Object(map))) => Ok(Self(map)),
            Ok(_) => Err(JsonFault {
                what: "it is no object".to_owned(),
                line: 1,
                column: 1,
            }),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                let text = error.to_string();
                let place = format!(" at line {line} column {column}");
                let what = text.strip_suffix(&place).unwrap_or(&text).to_owned();
                Err(JsonFault {
                    what,
                    line,
                    column: column.max(1),
                })
            }
        }
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The claim with a dotted name: the member with exactly that name, or a member of an object.
    /// `realm_access.roles` is the member `roles` of the object `realm_access`. If several splits
    /// exist, the one with the shortest first member is used.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Value> {
        find(&self.0, name)
    }

    /// Whether the claim exists, with any type.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    #[must_use]
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// An optional claim that must be a string.
    ///
    /// # Errors
    /// [`WrongType`] for another type.
    pub fn string(&self, name: &'static str) -> Result<Option<&str>, WrongType> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(WrongType(name)),
        }
    }

    /// A NumericDate (RFC 7519 §2) in whole seconds, rounded down.
    ///
    /// # Errors
    /// [`WrongType`], unless it is a finite JSON number that fits into 64 bits.
    pub fn numeric_date(&self, name: &'static str) -> Result<Option<i64>, WrongType> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                if let Some(whole) = number.as_i64() {
                    return Ok(Some(whole));
                }
                // 2^53: larger floats are not exact to the second, and no token has such a time.
                match number.as_f64() {
                    Some(float) if float.abs() < 9_007_199_254_740_992.0 =>
                    {
                        #[expect(
                            clippy::cast_possible_truncation,
                            reason = "bounded by the guard above"
                        )]
                        Ok(Some(float.floor() as i64))
                    }
                    _ => Err(WrongType(name)),
                }
            }
            Some(_) => Err(WrongType(name)),
        }
    }

    /// A claim that is one string or a list of strings (`aud`, RFC 7519 §4.1.3).
    ///
    /// # Errors
    /// [`WrongType`] for another type.
    pub fn strings(&self, name: &'static str) -> Result<Vec<&str>, WrongType> {
        match self.0.get(name) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().ok_or(WrongType(name)))
                .collect(),
            Some(_) => Err(WrongType(name)),
        }
    }

    /// The token's scopes: `scope` (RFC 8693 §4.2), or `scp` of other authorities, as a text or a
    /// list. If both exist they must agree: otherwise one would grant rights that the other
    /// withholds.
    ///
    /// # Errors
    /// [`WrongType`] if a claim has another type, contains an invalid scope, or differs from the
    /// other one.
    pub fn scopes(&self) -> Result<ScopeSet, WrongType> {
        match (self.scope_list("scope")?, self.scope_list("scp")?) {
            (Some(scope), Some(scp)) if !(scope.is_subset_of(&scp) && scp.is_subset_of(&scope)) => {
                Err(WrongType("scp"))
            }
            (Some(scopes), _) | (None, Some(scopes)) => Ok(scopes),
            (None, None) => Ok(ScopeSet::default()),
        }
    }

    fn scope_list(&self, name: &'static str) -> Result<Option<ScopeSet>, WrongType> {
        if !self.contains(name) {
            return Ok(None);
        }
        let tokens = self
            .strings(name)?
            .into_iter()
            .flat_map(|s| s.split(' '))
            .filter(|s| !s.is_empty());
        ScopeSet::from_tokens(tokens)
            .map(Some)
            .map_err(|_| WrongType(name))
    }
}

fn find<'v>(members: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    members.get(name).or_else(|| {
        name.match_indices('.').find_map(|(dot, _)| {
            let (first, rest) = (name.get(..dot)?, name.get(dot + 1..)?);
            find(members.get(first)?.as_object()?, rest)
        })
    })
}

/// The fault of a text that should be a JSON object without repeated members. It contains at most a
/// repeated name, shortened and escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentFault {
    #[error("it is empty")]
    Empty,
    #[error(
        "it begins with a byte order mark (BOM), which JSON does not allow (RFC 8259 §8.1): save \
         it \
         as UTF-8 without one"
    )]
    ByteOrderMark,
    #[error("it is not UTF-8 text")]
    NotUtf8,
    #[error("it is an HTML or XML page, not JSON: another service answers at this URL")]
    Markup,
    /// A member is repeated in one object.
    #[error("it repeats the member `{0}`, which parsers interpret differently")]
    Repeated(String),
    #[error("it is JSON, but not an object")]
    NotAnObject,
    #[error("it ends unexpectedly after {0} bytes")]
    BreaksOff(usize),
    #[error("it is not JSON (line {line}, column {column})")]
    Syntax { line: usize, column: usize },
}

impl DocumentFault {
    /// The reason why [`Claims::parse`] refuses a text; `None` if it accepts it. Only for documents
    /// that are not secret.
    #[must_use]
    pub fn of(json: &[u8]) -> Option<Self> {
        let error = match serde_json::from_slice::<Strict>(json) {
            Ok(Strict(Value::Object(_))) => return None,
            Ok(_) => return Some(Self::NotAnObject),
            Err(error) => error,
        };
        let text = json.trim_ascii();
        Some(if text.is_empty() {
            Self::Empty
        } else if text.starts_with(b"\xef\xbb\xbf") {
            Self::ByteOrderMark
        } else if std::str::from_utf8(text).is_err() {
            Self::NotUtf8
        } else if text.starts_with(b"<") {
            Self::Markup
        } else if let Some(name) = repeated_name(&error) {
            Self::Repeated(name)
        } else if error.is_eof() {
            Self::BreaksOff(json.len())
        } else {
            Self::Syntax {
                line: error.line(),
                column: error.column(),
            }
        })
    }
}

/// The repeated member that [`StrictVisitor`] found.
fn repeated_name(error: &serde_json::Error) -> Option<String> {
    let text = error.to_string();
    let (_, rest) = text.split_once("the member `")?;
    rest.rsplit_once("` is repeated")
        .map(|(name, _)| name.to_owned())
}

/// A text that is not a JSON object, or repeats a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON object, or a member is repeated")]
pub struct InvalidJson;

/// The fault of a JSON text, with its position. It contains no value of the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct JsonFault {
    what: String,
    line: usize,
    column: usize,
}

/// JSON in which no object repeats a member.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            if members.contains_key(&name) {
                let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
                return Err(de::Error::custom(format!(
                    "the member `{shown}` is repeated"
                )));
            }
            let Strict(value) = map.next_value()?;
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests;
