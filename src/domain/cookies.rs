//! Cookies of a request (RFC 6265 §4.2).

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// Whether a text can be the name of a cookie: a token of RFC 9110 §5.6.2.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_mark = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

/// The values of every cookie with this name.
pub fn values<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h [u8]> {
    pairs(headers).filter_map(move |pair| value_of(pair, name))
}

/// The field without the cookies of this name, and with `added` in their place. `None` if no cookie
/// is left.
#[must_use]
pub fn replaced(
    headers: &HeaderMap,
    name: &str,
    added: Option<&HeaderValue>,
) -> Option<HeaderValue> {
    let mut left: Vec<&[u8]> = pairs(headers)
        .filter(|pair| value_of(pair, name).is_none())
        .collect();
    left.extend(added.map(HeaderValue::as_bytes));
    if left.is_empty() {
        return None;
    }
    let mut field = HeaderValue::from_bytes(&left.join(&b"; "[..])).ok()?;
    field.set_sensitive(true);
    Some(field)
}

/// `name=value`, if a server reads the value back as it is.
#[must_use]
pub fn pair(name: &str, value: &[u8]) -> Option<HeaderValue> {
    let is_octet = |byte: &u8| matches!(byte, b'!'..=b'~') && !b"\",;\\".contains(byte);
    if !value.iter().all(is_octet) {
        return None;
    }
    let mut pair = HeaderValue::from_bytes(&[name.as_bytes(), b"=", value].concat()).ok()?;
    pair.set_sensitive(true);
    Some(pair)
}

fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    // HTTP/2 clients may split them into several fields (RFC 9113 §8.2.3).
    let fields = headers.get_all(COOKIE).iter();
    fields
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty())
}

/// The value of a pair with this name. Servers ignore space around the name.
fn value_of<'p>(pair: &'p [u8], name: &str) -> Option<&'p [u8]> {
    let mut parts = pair.splitn(2, |byte| *byte == b'=');
    let is_it = parts.next()?.trim_ascii() == name.as_bytes();
    parts.next().filter(|_| is_it).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookies(fields: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(COOKIE, HeaderValue::from_str(field).unwrap());
        }
        headers
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        for (fields, found) in [
            (&[][..], &[][..]),
            (&["token=a.b"], &["a.b"]),
            (&["x=1; token=a==; y=2"], &["a=="]),
            (&["x=1;token=a ;"], &["a"]),
            (&["x=1", "token=a"], &["a"]),
            (&["token=a; token=b"], &["a", "b"]),
            (&["token =a"], &["a"]),
            (&["Token=a; tokens=b; xtoken=c; token"], &[]),
            (&["token="], &[""]),
        ] {
            let headers = cookies(fields);
            let values: Vec<_> = values(&headers, "token").collect();
            let expected: Vec<_> = found.iter().map(|value| value.as_bytes()).collect();
            assert_eq!(values, expected, "{fields:?}");
        }
    }

    #[test]
    fn a_cookie_is_removed_or_replaced_and_the_others_stay() {
        let added = pair("token", b"new").unwrap();
        for (fields, removed, replaced_by) in [
            (&[][..], None, "token=new"),
            (&["token=a"], None, "token=new"),
            (
                &["x=1; token=a; y=2"],
                Some("x=1; y=2"),
                "x=1; y=2; token=new",
            ),
            (&["x=1", "token=a; token=b"], Some("x=1"), "x=1; token=new"),
            (&["odd; =; x"], Some("odd; =; x"), "odd; =; x; token=new"),
        ] {
            let headers = cookies(fields);
            let left = replaced(&headers, "token", None);
            assert_eq!(left, removed.map(HeaderValue::from_static), "{fields:?}");
            let left = replaced(&headers, "token", Some(&added)).unwrap();
            assert!(left.is_sensitive());
            assert_eq!(left, replaced_by, "{fields:?}");
        }
    }

    #[test]
    fn names_and_values_that_would_be_read_differently_are_refused() {
        assert!(is_name("token") && is_name("__Host-token"));
        assert!(!is_name("") && !is_name("a b") && !is_name("a=b") && !is_name("a;b"));
        assert!(pair("token", b"a.b-c_d~e+f/g==").is_some());
        for value in [&b"a;b"[..], b"a b", b"a,b", b"\"a\"", b"a\\b", b"a\xe9"] {
            assert!(pair("token", value).is_none(), "{value:?}");
        }
    }
}
