//! Equality of URIs: RFC 3986 §6.2.2 (syntax) and §6.2.3 (scheme).

/// Whether two texts are the same URI, ignoring the case of scheme and host, needless escapes, dot
/// segments, and for http and https the default port and an empty path. Other texts must be equal.
#[must_use]
pub fn is_same(one: &str, other: &str) -> bool {
    one == other || normal(one).is_some_and(|one| normal(other).is_some_and(|other| one == other))
}

/// The normal form; `None` if the text is no URI.
fn normal(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    // A text with other characters is no URI.
    if !is_scheme
        || !rest
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>'))
    {
        return None;
    }
    let scheme = scheme.to_ascii_lowercase();
    let (hierarchy, extra) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    let Some(hierarchy) = hierarchy.strip_prefix("//") else {
        return Some(format!(
            "{scheme}:{}{}",
            unescaped(hierarchy)?,
            unescaped(extra)?
        ));
    };
    let (authority, path) = hierarchy.split_at(hierarchy.find('/').unwrap_or(hierarchy.len()));
    let (user, host) = authority
        .rsplit_once('@')
        .map_or(("", authority), |(user, host)| (user, host));
    let at = if authority.contains('@') { "@" } else { "" };
    let host = without_default_port(&scheme, &unescaped(host)?.to_ascii_lowercase())?;
    let mut path = without_dot_segments(&unescaped(path)?);
    if path.is_empty() && matches!(scheme.as_str(), "http" | "https") {
        path.push('/');
    }
    Some(format!(
        "{scheme}://{}{at}{host}{path}{}",
        unescaped(user)?,
        unescaped(extra)?
    ))
}

/// A host and its port, without an empty or default port; `None` if the port is no number.
fn without_default_port(scheme: &str, authority: &str) -> Option<String> {
    let end = match authority.rfind(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let digits = if port.is_empty() {
        ""
    } else {
        port.strip_prefix(':')?
    };
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let is_default =
        digits.is_empty() || matches!((scheme, digits), ("http", "80") | ("https", "443"));
    Some(if is_default { host } else { authority }.to_owned())
}

/// Decodes needless escapes (§6.2.2.2), and writes the others in upper case (§6.2.2.1). `None` if a
/// percent sign begins no escape.
fn unescaped(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut normal = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part
            .get(..2)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        let byte = u8::from_str_radix(digits, 16).ok()?;
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            normal.push(char::from(byte));
        } else {
            normal.push_str(&format!("%{byte:02X}"));
        }
        normal.push_str(part.get(2..).unwrap_or_default());
    }
    Some(normal)
}

/// A path without the segments `.` and `..` (§5.2.4). It is empty or begins with a slash.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    for (place, &segment) in segments.iter().enumerate() {
        let is_last = place + 1 == segments.len();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    kept.iter().flat_map(|segment| ["/", segment]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_spellings_of_one_uri_are_the_same() {
        for (one, other) in [
            ("https://api.example", "https://api.example/"),
            ("https://api.example", "HTTPS://API.Example:443"),
            ("http://api.example:80/a", "http://api.example/a"),
            ("https://api.example:/a", "https://api.example/a"),
            ("https://api.example/a%7eb", "https://api.example/a~b"),
            ("https://api.example/a%2fb", "https://api.example/a%2Fb"),
            ("https://api.example/a/./b/../c", "https://api.example/a/c"),
            ("https://api.example/a/..", "https://api.example/"),
            ("https://[2001:DB8::1]:443/", "https://[2001:db8::1]"),
            ("https://api.example?a=%7e", "https://api.example/?a=~"),
            ("SPIFFE://Domain/x", "spiffe://domain/x"),
            ("URN:x:a%7e", "urn:x:a~"),
            ("api", "api"),
        ] {
            assert!(is_same(one, other) && is_same(other, one), "{one} {other}");
        }
    }

    #[test]
    fn other_uris_are_not_the_same() {
        for (one, other) in [
            ("https://api.example/a", "https://api.example/A"),
            ("https://api.example/a", "https://api.example/a/"),
            ("https://api.example/a%2Fb", "https://api.example/a/b"),
            ("https://api.example", "http://api.example"),
            ("https://api.example:8443", "https://api.example"),
            ("http://api.example:443", "http://api.example"),
            ("https://api.example/?a", "https://api.example/"),
            ("https://user@api.example/", "https://api.example/"),
            (
                "https://api.example\\@evil.example/",
                "https://api.example%5C@evil.example/",
            ),
            ("spiffe://domain", "spiffe://domain/"),
            ("https://api.example::", "https://api.example"),
            ("https://api.example:443:443", "https://api.example"),
            ("https://api.example/%%341", "https://api.example/%41"),
            ("https://api.example/%+4", "https://api.example/%04"),
            ("urn:x:A", "urn:x:a"),
            ("Api", "api"),
            ("", "/"),
        ] {
            assert!(
                !is_same(one, other) && !is_same(other, one),
                "{one} {other}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_the_same_as_itself_and_a_normal_form_is_normal(
            text in prop_oneof![any::<String>(), "[a-zA-Z]{1,5}:(//)?[a-zA-Z@:.%0-9/?#~-]{0,30}"],
        ) {
            prop_assert!(is_same(&text, &text));
            if let Some(normal_form) = normal(&text) {
                prop_assert!(is_same(&text, &normal_form));
            }
        }
    }
}
