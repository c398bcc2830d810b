//! Texts at the top of a JSON object, read as strictly as [`Claims`](super::Claims) and without
//! building its values: of a token with a wrong signature nothing else is used.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::InvalidJson;

/// Up to this number of names, comparing each with each is faster than hashing.
const FEW: usize = 16;

/// A member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member<'j> {
    Absent,
    Text(Cow<'j, str>),
    /// Not a string.
    Other,
}

impl Member<'_> {
    /// The text, if the member is a string.
    #[must_use]
    pub fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.into_owned()),
            Self::Absent | Self::Other => None,
        }
    }
}

/// The members of a JSON object with these names. A repeated member at any depth is an error.
///
/// # Errors
/// For the same texts as [`Claims::parse`](super::Claims::parse).
pub fn members<'j, const N: usize>(
    json: &'j [u8],
    names: [&str; N],
) -> Result<[Member<'j>; N], InvalidJson> {
    let mut found = std::array::from_fn(|_| Member::Absent);
    let object = Object {
        names: &names,
        found: &mut found,
    };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let read = object.deserialize(&mut deserializer);
    read.and_then(|()| deserializer.end())
        .map_err(|_| InvalidJson)?;
    Ok(found)
}

/// The object at the top.
struct Object<'n, 'f, 'j> {
    names: &'n [&'n str],
    found: &'f mut [Member<'j>],
}

impl<'j> DeserializeSeed<'j> for Object<'_, '_, 'j> {
    type Value = ();

    fn deserialize<D: Deserializer<'j>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'j> Visitor<'j> for Object<'_, '_, 'j> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object without repeated members")
    }

    fn visit_map<A: MapAccess<'j>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = Seen::default();
        while let Some(Name(name)) = map.next_key_seed(NameSeed)? {
            let member = map.next_value_seed(Value)?;
            let wanted = self.names.iter().position(|wanted| *wanted == name);
            if let Some(found) = wanted.and_then(|place| self.found.get_mut(place)) {
                *found = member;
            }
            seen.add(name)?;
        }
        Ok(())
    }
}

/// The names of one object so far.
#[derive(Default)]
struct Seen<'j> {
    few: Vec<Cow<'j, str>>,
    more: HashSet<Cow<'j, str>>,
}

impl<'j> Seen<'j> {
    fn add<E: de::Error>(&mut self, name: Cow<'j, str>) -> Result<(), E> {
        let is_new = if self.few.contains(&name) {
            false
        } else if self.few.len() < FEW {
            self.few.push(name);
            true
        } else {
            self.more.insert(name)
        };
        if is_new {
            Ok(())
        } else {
            Err(E::custom("a member is repeated"))
        }
    }
}

struct Name<'j>(Cow<'j, str>);

struct NameSeed;

impl<'j> DeserializeSeed<'j> for NameSeed {
    type Value = Name<'j>;

    fn deserialize<D: Deserializer<'j>>(self, deserializer: D) -> Result<Name<'j>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'j> Visitor<'j> for NameSeed {
    type Value = Name<'j>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'j str) -> Result<Name<'j>, E> {
        Ok(Name(name.into()))
    }

    fn visit_str<E>(self, name: &str) -> Result<Name<'j>, E> {
        Ok(Name(name.to_owned().into()))
    }
}

/// Any value. [`Member::Other`] unless it is a string.
struct Value;

impl<'j> DeserializeSeed<'j> for Value {
    type Value = Member<'j>;

    fn deserialize<D: Deserializer<'j>>(self, deserializer: D) -> Result<Member<'j>, D::Error> {
        // Not `IgnoredAny`, which accepts numbers and texts that `Claims` refuses.
        deserializer.deserialize_any(self)
    }
}

impl<'j> Visitor<'j> for Value {
    type Value = Member<'j>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_borrowed_str<E>(self, text: &'j str) -> Result<Member<'j>, E> {
        Ok(Member::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Member<'j>, E> {
        Ok(Member::Text(text.to_owned().into()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Member<'j>, E> {
        Ok(Member::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Member<'j>, E> {
        Ok(Member::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Member<'j>, E> {
        Ok(Member::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Member<'j>, E> {
        Ok(Member::Other)
    }

    fn visit_unit<E>(self) -> Result<Member<'j>, E> {
        Ok(Member::Other)
    }

    fn visit_seq<A: SeqAccess<'j>>(self, mut seq: A) -> Result<Member<'j>, A::Error> {
        while seq.next_element_seed(Value)?.is_some() {}
        Ok(Member::Other)
    }

    fn visit_map<A: MapAccess<'j>>(self, map: A) -> Result<Member<'j>, A::Error> {
        let (names, found) = (&[][..], &mut [][..]);
        Object { names, found }.visit_map(map)?;
        Ok(Member::Other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::claims::Claims;

    /// Both readers give the same result.
    fn check(json: &[u8]) {
        let names = ["iss", "n", "absent"];
        let read = members(json, names);
        let claims = Claims::parse(json);
        assert_eq!(read.is_ok(), claims.is_ok(), "{}", json.escape_ascii());
        let (Ok(read), Ok(claims)) = (read, claims) else {
            return;
        };
        for (name, member) in names.into_iter().zip(read) {
            assert_eq!(member == Member::Absent, !claims.contains(name));
            let text = claims.get(name).and_then(|value| value.as_str());
            assert_eq!(member.into_text().as_deref(), text);
        }
    }

    #[test]
    fn the_outline_accepts_the_same_texts_as_the_claims_and_reads_the_same() {
        let deep = |depth: usize| format!("{{\"n\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let many = |last: &str| {
            let names: String = (0..40).map(|n| format!("\"m{n}\":{n},")).collect();
            format!("{{{names}\"{last}\":1}}")
        };
        let texts = [
            r#"{"iss":"a","n":1}"#,
            r#" {"iss" : "\u00e9\n" , "n":[{"a":1,"b":{"a":null}}]} "#,
            r#"{"iss":{"iss":"a"},"n":"b"}"#,
            r#"{"\u0069ss":"a"}"#,
            r#"{"iss":"a","\u0069ss":"b"}"#,
            r#"{"n":{"a":1,"a":1}}"#,
            r#"{"n":[{"b":1,"b":1}]}"#,
            r#"{"n":1e999}"#,
            r#"{"n":-0.5e-3,"iss":18446744073709551616}"#,
            r#"{"iss":"\ud800"}"#,
            r#"{"n":"\ud800"}"#,
            r#"{"n":01}"#,
            r#"{"n":1,}"#,
            r#"{"n":1} x"#,
            r#"{"n":tru}"#,
            "[]",
            "[\"iss\"]",
            "\"iss\"",
            "null",
            "",
            "{",
            "{}",
            &deep(120),
            &deep(127),
            &deep(128),
            &deep(200),
            &many("m40"),
            &many("m39"),
            &many("m3"),
        ];
        texts.iter().for_each(|json| check(json.as_bytes()));
        check(b"{\"iss\":\"\xff\"}");
        check(b"{\"n\":{\"\xff\":1}}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_by_the_claims(
            json in "\\{(\"(iss|n|\\\\u006e|x)\":(\"[a-z\\\\\"]{0,2}\"|[-0-9.e]{1,4}|\\[\\{\"n\":1,\"(n|m)\":true\\}\\]|null),?){0,4}\\}"
        ) {
            check(json.as_bytes());
        }
    }
}
