//! Keeps responses to requests that need a token out of shared caches.
//!
//! A shared cache may store a response to a request with `Authorization` if the response has
//! `public`, `s-maxage` or `must-revalidate` (RFC 9111 §3.5), and would send it to callers without a
//! token. Tokens in cookies do not stop a cache at all.

use http::{HeaderName, HeaderValue, header};
use pingora::http::ResponseHeader;

use crate::domain::reason::Reason;

/// Fields that some caches prefer to `Cache-Control`.
const PREFERRED: [HeaderName; 3] = [
    HeaderName::from_static("surrogate-control"),
    HeaderName::from_static("x-accel-expires"),
    HeaderName::from_static("edge-control"),
];
/// The end of the names of such fields (RFC 9213): `CDN-Cache-Control` and those of vendors.
const TARGETED: &str = "cdn-cache-control";
const PRIVATE: HeaderValue = HeaderValue::from_static("private");

/// Adds `private`, unless the response has `no-store` or `private` for all of it. `public` and
/// `s-maxage`, which contradict it, are removed.
pub(super) fn keep_private(response: &mut ResponseHeader) -> Result<(), Reason> {
    let is_preferred =
        |name: &&HeaderName| PREFERRED.contains(name) || name.as_str().ends_with(TARGETED);
    let preferred: Vec<_> = response
        .headers
        .keys()
        .filter(is_preferred)
        .cloned()
        .collect();
    for name in preferred {
        response.remove_header(&name);
    }
    let value = match response.headers.get(header::CACHE_CONTROL) {
        None => PRIVATE,
        Some(_) => {
            let values = response.headers.get_all(header::CACHE_CONTROL).iter();
            let Some(value) = with_private(values.map(HeaderValue::as_bytes)) else {
                return Ok(());
            };
            HeaderValue::from_bytes(&value).map_err(|_| Reason::Internal)?
        }
    };
    let inserted = response.insert_header(header::CACHE_CONTROL, value);
    inserted.map_err(|_| Reason::Internal)
}

/// The directives with `private`; `None` if a shared cache stores nothing already.
fn with_private<'v>(values: impl Iterator<Item = &'v [u8]>) -> Option<Vec<u8>> {
    let mut kept = Vec::new();
    for directive in values.flat_map(directives) {
        let (name, argument) = match directive.iter().position(|byte| *byte == b'=') {
            Some(sign) => directive.split_at(sign),
            None => (directive, &[][..]),
        };
        let is = |known: &str| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes());
        // `private="set-cookie"` is about that field only.
        if is("no-store") || is("private") && argument.is_empty() {
            return None;
        }
        if !(directive.is_empty() || is("public") || is("s-maxage") || is("private")) {
            kept.extend_from_slice(directive);
            kept.extend_from_slice(b", ");
        }
    }
    kept.extend_from_slice(b"private");
    Some(kept)
}

/// The items of a list, which are separated by commas outside of quoted strings.
fn directives(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let items = value.split(move |byte| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
        *byte == b',' && !is_quoted
    });
    items.map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(fields: &[(&'static str, &str)]) -> Vec<(String, String)> {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for (name, value) in fields {
            response.append_header(*name, *value).unwrap();
        }
        keep_private(&mut response).unwrap();
        let fields = response
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        fields.collect()
    }

    #[test]
    fn a_shared_cache_may_store_none_of_the_responses() {
        for (values, expected) in [
            (&[][..], "private"),
            (&[""], "private"),
            (&["max-age=60"], "max-age=60, private"),
            (&["public, max-age=60"], "max-age=60, private"),
            (
                &["Public", "S-MaxAge=5 , must-revalidate"],
                "must-revalidate, private",
            ),
            (&["no-cache"], "no-cache, private"),
            (
                &["private=\"set-cookie, public\", max-age=1"],
                "max-age=1, private",
            ),
            (
                &["x=\"a, no-store\", max-age=1"],
                "x=\"a, no-store\", max-age=1, private",
            ),
            (&["x=\"a\\\", no-store\""], "x=\"a\\\", no-store\", private"),
            (&[",, ,"], "private"),
        ] {
            let fields: Vec<_> = values
                .iter()
                .map(|value| ("cache-control", *value))
                .collect();
            let expected = [("cache-control".to_owned(), expected.to_owned())];
            assert_eq!(kept(&fields), expected, "{values:?}");
        }
    }

    #[test]
    fn a_response_that_no_shared_cache_stores_is_unchanged() {
        for value in [
            "no-store",
            "max-age=1, No-Store",
            "private",
            "PRIVATE , max-age=1",
        ] {
            let fields = [("cache-control", value), ("age", "1")];
            let expected = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(kept(&fields), expected, "{value}");
        }
        let preferred = [
            ("cdn-cache-control", "max-age=9"),
            ("cloudflare-cdn-cache-control", "max-age=9"),
            ("surrogate-control", "max-age=9"),
            ("x-accel-expires", "9"),
            ("cache-control", "private"),
        ];
        assert_eq!(
            kept(&preferred),
            [("cache-control".to_owned(), "private".to_owned())]
        );
    }
}
