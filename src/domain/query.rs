//! Reads one parameter of a query, if every server reads the same one, and writes one.
//!
//! Servers differ in what separates parameters, how often they decode, whether `+` is a space, and
//! which spellings name the same parameter. In doubt there is no value.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};

use super::letter_case::Folding;

/// Every character but the unreserved ones (RFC 3986 §2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Why a parameter has no clear value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// The parameter occurs twice, perhaps in two spellings.
    #[error("the query has the parameter more than once")]
    Twice,
    /// Servers could read its name or its value differently.
    #[error("servers could read the parameter of the query differently")]
    Ambiguous,
}

/// The value of a parameter, whose name consists of letters, digits, `-`, `_`, `.` and `~`. `None`
/// if the query does not have it.
///
/// # Errors
/// [`Unclear`] if servers could read it differently.
pub fn parameter(query: &str, name: &str) -> Result<Option<String>, Unclear> {
    let wanted = letters(name);
    let mut found = None;
    for parameter in query.split('&') {
        // Some servers separate at `;` too.
        for piece in parameter.split(';') {
            let (written, value) = piece.split_once('=').unwrap_or((piece, ""));
            if !could_be(written, name, &wanted)? {
                continue;
            }
            let is_plain = piece.len() == parameter.len();
            if found.replace((written, value, is_plain)).is_some() {
                return Err(Unclear::Twice);
            }
        }
    }
    let Some((written, value, is_plain)) = found else {
        return Ok(None);
    };
    if !is_plain || decoded(written)? != name {
        return Err(Unclear::Ambiguous);
    }
    let value = decoded(value)?;
    let is_clear = !value.contains(char::is_control) && !has_escape(value.as_bytes());
    if is_clear {
        Ok(Some(value))
    } else {
        Err(Unclear::Ambiguous)
    }
}

/// Whether a query has the parameter, in any spelling that a server could read as its name.
#[must_use]
pub fn has(query: &str, name: &str) -> bool {
    let wanted = letters(name);
    query
        .split(['&', ';'])
        .any(|piece| is_named(piece, name, &wanted))
}

/// A query in which the parameter, whose name is as for [`parameter`], has this value and no other.
#[must_use]
pub fn with(query: Option<&str>, name: &str, value: &str) -> String {
    let value = utf8_percent_encode(value, ESCAPED);
    match query.and_then(|query| without(query, name)) {
        Some(others) => format!("{others}&{name}={value}"),
        None => format!("{name}={value}"),
    }
}

/// A query without the parameter, in any spelling that a server could read as its name. `None`: no
/// parameter is left.
#[must_use]
pub fn without(query: &str, name: &str) -> Option<String> {
    let wanted = letters(name);
    let others = query.split('&').filter_map(|parameter| {
        let pieces = parameter.split(';');
        let kept: Vec<&str> = pieces.filter(|it| !is_named(it, name, &wanted)).collect();
        (!kept.is_empty()).then(|| kept.join(";"))
    });
    let others: Vec<String> = others.collect();
    Some(others.join("&")).filter(|others| !others.is_empty())
}

/// Whether some server could read the name of a parameter as `name`.
fn is_named(parameter: &str, name: &str, wanted: &str) -> bool {
    let written = parameter
        .split_once('=')
        .map_or(parameter, |(name, _)| name);
    could_be(written, name, wanted).unwrap_or(false)
}

/// A text with its escapes decoded once, if there is only one way to do so.
fn decoded(text: &str) -> Result<String, Unclear> {
    // A form's `+` is a space, that of RFC 3986 is a plus sign.
    if text.contains('+') || has_broken_escape(text.as_bytes()) {
        return Err(Unclear::Ambiguous);
    }
    let bytes = Cow::from(percent_decode(text.as_bytes())).into_owned();
    String::from_utf8(bytes).map_err(|_| Unclear::Ambiguous)
}

/// Whether some server could read a written name as `name`, whose letters are `wanted`.
fn could_be(written: &str, name: &str, wanted: &str) -> Result<bool, Unclear> {
    if written == name {
        return Ok(true);
    }
    // Some servers decode more than once, and `%uXXXX` too.
    let mut text = written.as_bytes().to_vec();
    loop {
        if has_broken_escape(&text) {
            return Err(Unclear::Ambiguous);
        }
        if letters(head(&String::from_utf8_lossy(&text), name)) == wanted {
            return Ok(true);
        }
        let again: Vec<u8> = percent_decode(&text).collect();
        if again == text {
            return Ok(false);
        }
        text = again;
    }
}

/// The part of a name before an index or a member, as in `name[]`, `name[0]` and `name.first`.
fn head<'t>(text: &'t str, name: &str) -> &'t str {
    let text = text.trim_start_matches(|c: char| !c.is_alphanumeric());
    let is_end = |c: char| c == '[' || (c == '.' && !name.contains('.'));
    text.split(is_end).next().unwrap_or_default()
}

/// Only the letters and digits, in one letter case: servers ignore or replace other characters.
fn letters(name: &str) -> String {
    let kept: String = name.chars().filter(|c| c.is_alphanumeric()).collect();
    Folding::Full.of(kept.into()).into_owned()
}

fn has_escape(text: &[u8]) -> bool {
    text.windows(3).any(is_escape)
}

fn has_broken_escape(text: &[u8]) -> bool {
    let mut percents = memchr::memchr_iter(b'%', text);
    percents.any(|at| !text.get(at..at + 3).is_some_and(is_escape))
}

fn is_escape(bytes: &[u8]) -> bool {
    matches!(bytes, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_plain_parameter_has_its_decoded_value() {
        for (query, expected) in [
            ("tenant=blue", "blue"),
            ("a=1&tenant=blue&b=2", "blue"),
            ("a=%2B+x;y&tenant=blue", "blue"),
            ("tenant=a%2Bb%20c", "a+b c"),
            ("tenant=caf%C3%A9", "café"),
            ("te%6eant=blue", "blue"),
            ("tenant=a=b", "a=b"),
            ("tenant=", ""),
            ("tenant", ""),
            ("tenants=red&tenant=blue&xtenant=red", "blue"),
            ("filter[tenant]=red&tenant=blue", "blue"),
        ] {
            assert_eq!(
                parameter(query, "tenant"),
                Ok(Some(expected.to_owned())),
                "{query}"
            );
        }
        for query in [
            "",
            "a=1",
            "tenants=blue",
            "a=tenant",
            "%74=1",
            "a=tenant%3Dblue",
        ] {
            assert_eq!(parameter(query, "tenant"), Ok(None), "{query}");
        }
    }

    #[test]
    fn a_second_spelling_counts_as_a_second_parameter() {
        for query in [
            "tenant=blue&tenant=blue",
            "tenant=blue&Tenant=red",
            "tenant=blue&%74enant=red",
            "tenant=blue&%2574enant=red",
            "tenant=blue&tenant%00=red",
            "tenant=blue&tenant[]=red",
            "tenant=blue&tenant%5B0%5D=red",
            "tenant=blue&tenant.x=red",
            "tenant=blue&+tenant=red",
            "tenant=blue&%20tenant=red",
            "tenant=blue&te_nant=red",
            "tenant=blue&a;tenant=red",
            "a=1;tenant=red&tenant=blue",
            "tenant=blue&tenant",
            "tenant=blue&?tenant=red",
        ] {
            assert_eq!(parameter(query, "tenant"), Err(Unclear::Twice), "{query}");
        }
    }

    #[test]
    fn a_parameter_that_servers_read_differently_has_no_value() {
        for query in [
            "Tenant=blue",
            "tenant[]=blue",
            "%2574enant=blue",
            "tenant=blue;x=1",
            "x;tenant=blue",
            "tenant;x=blue",
            "tenant=a+b",
            "tenant=%",
            "tenant=%zz",
            "tenant=%2541",
            "tenant=%00blue",
            "tenant=blue%0A",
            "tenant=%FF",
            "tenant=blue&%u0074enant=red",
            "tenant=blue&%",
        ] {
            assert_eq!(
                parameter(query, "tenant"),
                Err(Unclear::Ambiguous),
                "{query}"
            );
        }
    }

    #[test]
    fn a_parameter_that_is_set_replaces_every_spelling_of_it() {
        for (query, expected) in [
            (None, "api_key=a%2Fb.c"),
            (Some(""), "api_key=a%2Fb.c"),
            (Some("x=1"), "x=1&api_key=a%2Fb.c"),
            (Some("api_key=mine"), "api_key=a%2Fb.c"),
            (
                Some("x=%2F&api_key=1&y&api%5Fkey=2"),
                "x=%2F&y&api_key=a%2Fb.c",
            ),
            (
                Some("API_KEY=1&x=1;api_key=2&api_key[]=3"),
                "x=1&api_key=a%2Fb.c",
            ),
            (Some("x=%zz&api_keys=1"), "x=%zz&api_keys=1&api_key=a%2Fb.c"),
        ] {
            assert_eq!(with(query, "api_key", "a/b.c"), expected, "{query:?}");
        }
        assert!(has("x&Api-Key=1", "api_key") && !has("x=api_key", "api_key"));
        assert_eq!(without("api_key=1", "api_key"), None);
    }

    /// How servers read a query: their separators, decoding and comparison of names.
    fn read(query: &str, name: &str, semicolons: bool, plus: bool, case: bool) -> Vec<String> {
        let separators: &[char] = if semicolons { &['&', ';'] } else { &['&'] };
        let decode = |text: &str| {
            let text = if plus {
                text.replace('+', " ")
            } else {
                text.to_owned()
            };
            percent_decode(text.as_bytes())
                .decode_utf8_lossy()
                .into_owned()
        };
        let pairs = query.split(separators).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        let is_name = |read: &str| read == name || case && read.trim().eq_ignore_ascii_case(name);
        pairs
            .filter(|(read, _)| is_name(read))
            .map(|(_, value)| value)
            .collect()
    }

    proptest! {
        /// A value that is given is the only value that any of these servers reads.
        #[test]
        fn every_server_reads_the_value_that_is_given(
            query in "(tenant|Tenant|t%65nant|a|%|;|&|=|\\+|x|%2B|%26|%3D|%25|41){0,9}",
            semicolons: bool, plus: bool, case: bool,
        ) {
            let seen = read(&query, "tenant", semicolons, plus, case);
            match parameter(&query, "tenant") {
                Ok(Some(value)) => prop_assert_eq!(seen, [value]),
                Ok(None) => prop_assert!(seen.is_empty(), "{:?}", seen),
                Err(_) => {}
            }
        }

        #[test]
        fn any_text_is_read_without_a_panic(query in "\\PC{0,40}") {
            let _ = parameter(&query, "tenant");
        }

        /// A program that encodes its query correctly is understood.
        #[test]
        fn an_encoded_value_is_read_back(value in "[ -~é€]{1,20}") {
            let is_escape_itself = has_escape(value.as_bytes());
            let encoded = percent_encoding::utf8_percent_encode(
                &value, percent_encoding::NON_ALPHANUMERIC,
            );
            let query = format!("a=1&tenant={encoded}");
            let read = parameter(&query, "tenant");
            let expected = if is_escape_itself { Err(Unclear::Ambiguous) } else { Ok(Some(value)) };
            prop_assert_eq!(read, expected);
        }
    }
}
