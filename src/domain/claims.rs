//! Claims of a token: JSON read strictly, members read by type.
//!
//! JSON with the same member twice means different things to different parsers (RFC 8725 §2.4), so
//! it is refused at every depth. A member of the wrong type is an error of its own, never "absent".

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::scope::ScopeSet;

/// A claim that is there, but not of the type its definition names.
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
    /// When the text is no JSON object or repeats a member. The error names no part of the text.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidJson> {
        match serde_json::from_slice::<Strict>(json) {
            Ok(Strict(Value::Object(map))) => Ok(Self(map)),
            _ => Err(InvalidJson),
        }
    }

    /// The same for a text whose writer is to learn what is wrong with it, and where.
    ///
    /// # Errors
    /// When the text is no JSON object or repeats a member; the error may name that member.
    pub fn parse_or_explain(json: &[u8]) -> Result<Self, JsonFault> {
        if json.starts_with(b"\xef\xbb\xbf") {
            let what = "a byte order mark (U+FEFF) stands before it; save it as UTF-8 without one"
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

    /// A claim's raw value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The claim that a dotted name leads to: the member with that very name, or else, at each dot,
    /// the member in front of it and in its object what stands behind it. `realm_access.roles` is
    /// the member `roles` of the object `realm_access`. Where several ways lead to a value, the one
    /// with the shortest first member is taken.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Value> {
        find(&self.0, name)
    }

    /// Whether the claim is there, whatever its type.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// All members.
    #[must_use]
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// A claim that must be a string when it is there.
    ///
    /// # Errors
    /// [`WrongType`] when it is something else.
    pub fn string(&self, name: &'static str) -> Result<Option<&str>, WrongType> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(WrongType(name)),
        }
    }

    /// A NumericDate (RFC 7519 §2) in whole seconds. A fraction is cut towards the past.
    ///
    /// # Errors
    /// [`WrongType`] for anything but a finite JSON number that fits into 64 bits.
    pub fn numeric_date(&self, name: &'static str) -> Result<Option<i64>, WrongType> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                if let Some(whole) = number.as_i64() {
                    return Ok(Some(whole));
                }
                // 2^53: beyond it a float no longer names one second, and no token's time is there.
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
    /// [`WrongType`] when it is something else.
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

    /// The token's scopes: `scope` (RFC 8693 §4.2), or `scp` as other authorities call it, as a
    /// joined text or a list. Where both are there they must say the same: to take either would
    /// give a token rights that the other withholds.
    ///
    /// # Errors
    /// [`WrongType`] when a claim is there and is neither, holds what is no scope, or differs from
    /// the other.
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

/// What is wrong with a text that should be a JSON object without repeated members. Of the text it
/// holds a repeated name at most, cut and escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentFault {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It begins with U+FEFF.
    #[error(
        "it begins with a byte order mark (BOM), which JSON does not allow (RFC 8259 §8.1): write it as UTF-8 without one"
    )]
    ByteOrderMark,
    /// It is UTF-16 or another encoding.
    #[error("it is not UTF-8 text")]
    NotUtf8,
    /// It begins with `<`.
    #[error("it is an HTML or XML page, not JSON: another page answers at this place")]
    Markup,
    /// A member stands twice in one object.
    #[error("it repeats the member `{0}`, which parsers read in different ways")]
    Repeated(String),
    /// It is JSON of another kind.
    #[error("it is JSON, but no object")]
    NotAnObject,
    /// It ends too early.
    #[error("it breaks off after {0} bytes")]
    BreaksOff(usize),
    /// It is no JSON.
    #[error("it is no JSON (line {line}, column {column})")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
}

impl DocumentFault {
    /// Why [`Claims::parse`] refuses this text; `None` when it does not. Only for documents that
    /// are no secret.
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

/// The member that [`StrictVisitor`] found repeated.
fn repeated_name(error: &serde_json::Error) -> Option<String> {
    let text = error.to_string();
    let (_, rest) = text.split_once("the member `")?;
    rest.rsplit_once("` is repeated")
        .map(|(name, _)| name.to_owned())
}

/// A text that is no JSON object, or one that repeats a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON object, or a member is repeated")]
pub struct InvalidJson;

/// What is wrong with a JSON text, and where. Names no value of it.
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
mod tests {
    use super::*;

    fn claims(json: &str) -> Claims {
        Claims::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn repeated_members_are_refused_at_every_depth() {
        for bad in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":[{"b":1,"b":1}]}"#,
            "[]",
            "1",
            "",
            "{",
        ] {
            assert_eq!(Claims::parse(bad.as_bytes()), Err(InvalidJson), "{bad}");
        }
        assert!(Claims::parse(br#"{"a":{"b":1},"b":1} x"#).is_err());
    }

    #[test]
    fn numeric_dates_are_numbers_and_nothing_else() {
        assert_eq!(claims(r#"{"exp":12}"#).numeric_date("exp"), Ok(Some(12)));
        assert_eq!(claims(r#"{"exp":12.9}"#).numeric_date("exp"), Ok(Some(12)));
        assert_eq!(claims(r#"{"exp":-1}"#).numeric_date("exp"), Ok(Some(-1)));
        assert_eq!(claims("{}").numeric_date("exp"), Ok(None));
        for bad in [
            r#"{"exp":"12"}"#,
            r#"{"exp":null}"#,
            r#"{"exp":1e300}"#,
            r#"{"exp":18446744073709551615}"#,
            r#"{"exp":[1]}"#,
        ] {
            assert_eq!(
                claims(bad).numeric_date("exp"),
                Err(WrongType("exp")),
                "{bad}"
            );
        }
    }

    #[test]
    fn scopes_come_from_scope_or_scp_as_text_or_list() {
        for json in [
            r#"{"scope":"a b"}"#,
            r#"{"scp":"a b"}"#,
            r#"{"scope":["a","b"]}"#,
            r#"{"scp":["a b"]}"#,
        ] {
            assert_eq!(claims(json).scopes().unwrap().to_string(), "a b", "{json}");
        }
        assert!(claims(r#"{"scope":5}"#).scopes().is_err());
        assert!(claims(r#"{"scope":[5]}"#).scopes().is_err());
        assert!(claims("{}").scopes().unwrap().is_empty());
    }

    #[test]
    fn scope_and_scp_must_agree() {
        let both = |scope: &str, scp: &str| {
            claims(&format!(r#"{{"scope":{scope},"scp":{scp}}}"#)).scopes()
        };
        for (scope, scp) in [
            (r#""a b""#, r#"["b","a"]"#),
            (r#""""#, "[]"),
            (r#"["a"]"#, r#""a a""#),
        ] {
            assert!(both(scope, scp).is_ok(), "{scope} {scp}");
        }
        for (scope, scp) in [
            (r#""a""#, r#""a b""#),
            (r#""a b""#, r#""a""#),
            (r#""""#, r#"["a"]"#),
            (r#""a""#, "7"),
        ] {
            assert!(both(scope, scp).is_err(), "{scope} {scp}");
        }
    }

    #[test]
    fn nesting_without_end_is_refused_and_overflows_nothing() {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            for depth in [126, 127, 200, 100_000] {
                let json = format!(r#"{{"x":{}1{}}}"#, open.repeat(depth), close.repeat(depth));
                assert_eq!(
                    Claims::parse(json.as_bytes()).is_ok(),
                    depth == 126,
                    "{depth} {open}"
                );
            }
        }
    }

    #[test]
    fn what_only_some_parsers_take_for_json_is_refused() {
        for bad in [
            &br#"{"exp":1,"\u0065xp":2}"#[..],
            b"\xef\xbb\xbf{}",
            b"{}\0",
            br#"{"a":1,}"#,
            b"{'a':1}",
            b"{a:1}",
            br#"{"a":NaN}"#,
            br#"{"a":Infinity}"#,
            br#"{"a":1e400}"#,
            br#"{"a":01}"#,
            br#"{"a":+1}"#,
            br#"{"a":0x10}"#,
            br#"{"a":.5}"#,
            br#"{"a":"\ud800"}"#,
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\n\"}",
            b"{} // x",
        ] {
            assert_eq!(
                Claims::parse(bad),
                Err(InvalidJson),
                "{}",
                String::from_utf8_lossy(bad)
            );
        }
    }

    #[test]
    fn a_fault_of_json_has_a_place_and_a_word() {
        for (json, said) in [
            ("{", "line 1, column 1: EOF while parsing an object"),
            ("{\n  \"a\": 1,\n}", "line 3, column 1: trailing comma"),
            ("{\n\"a\" 1}", "line 2, column 5: expected `:`"),
            ("{\"a\":'b'}", "line 1, column 6: expected value"),
            (
                "{\"a\":1,\n \"a\":2}",
                "line 2, column 4: the member `a` is repeated",
            ),
            ("{\"a\":\"x\ny\"}", "line 2, column 0"),
            ("[]", "line 1, column 1: it is no object"),
            ("\u{feff}{}", "line 1, column 1: a byte order mark"),
            ("{} {}", "line 1, column 4: trailing characters"),
        ] {
            let fault = Claims::parse_or_explain(json.as_bytes())
                .unwrap_err()
                .to_string();
            assert!(
                fault.starts_with(said.split(", column 0").next().unwrap_or(said)),
                "{json:?}: {fault}"
            );
            assert!(!fault.contains(" at line"), "{fault}");
        }
        assert!(Claims::parse_or_explain(b"{\"a\":1}").is_ok());
    }

    #[test]
    fn a_dotted_name_walks_objects_unless_a_member_has_that_very_name() {
        let token = claims(
            r#"{"a":{"b":{"c":1},"b.c":2,"x":null},"a.b":{"c":3},"l":[{"m":1}],"t":"x","resource_access":{"my.api":{"roles":["r"]}},
                "https://plgd.dev/deviceId":"d",".":{"":4}}"#,
        );
        for (name, value) in [
            ("a.b.c", Some("2")),
            ("a.b", Some(r#"{"c":3}"#)),
            ("a.x", Some("null")),
            ("a.y", None),
            ("a.b.c.d", None),
            ("t.x", None),
            ("l.m", None),
            ("l.0.m", None),
            ("a.", None),
            (".a", None),
            ("", None),
            ("resource_access.my.api.roles", Some(r#"["r"]"#)),
            ("https://plgd.dev/deviceId", Some(r#""d""#)),
        ] {
            assert_eq!(
                token.find(name).map(ToString::to_string).as_deref(),
                value,
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_wrong_with_a_document_is_said() {
        for (text, said) in [
            (&b""[..], "it is empty"),
            (b" \n", "it is empty"),
            (b"\xef\xbb\xbf{}", "byte order mark (BOM)"),
            (b"\xff\xfe{\0}\0", "not UTF-8"),
            (b"\n<!DOCTYPE html><html>", "HTML or XML page"),
            (b"<?xml?>", "HTML or XML page"),
            (br#"{"a":{"b":1,"b":2}}"#, "repeats the member `b`,"),
            (
                br#"{"x\u001b at line 7":1,"x\u001b at line 7":1}"#,
                "repeats the member `x\\u{1b} at line 7`,",
            ),
            (b"[]", "JSON, but no object"),
            (b"{\"a\": [", "breaks off after 7 bytes"),
            (b"{\n  'a': 1}", "no JSON (line 2, column 3)"),
            (b"{} x", "no JSON (line 1, column 4)"),
        ] {
            let fault = DocumentFault::of(text).unwrap().to_string();
            assert!(fault.contains(said), "{fault}");
            assert!(Claims::parse(text).is_err());
        }
        assert_eq!(DocumentFault::of(b"{\"a\":1}"), None);
        let long = format!("{{\"{0}\":1,\"{0}\":1}}", "x".repeat(100_000));
        assert!(
            DocumentFault::of(long.as_bytes())
                .unwrap()
                .to_string()
                .len()
                < 200
        );
    }

    #[test]
    fn audience_is_a_string_or_a_list_of_strings() {
        assert_eq!(claims(r#"{"aud":"a"}"#).strings("aud"), Ok(vec!["a"]));
        assert_eq!(
            claims(r#"{"aud":["a","b"]}"#).strings("aud"),
            Ok(vec!["a", "b"])
        );
        assert_eq!(
            claims(r#"{"aud":["a",1]}"#).strings("aud"),
            Err(WrongType("aud"))
        );
        assert_eq!(
            claims(r#"{"aud":{}}"#).strings("aud"),
            Err(WrongType("aud"))
        );
    }
}
