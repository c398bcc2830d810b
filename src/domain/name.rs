//! The grammars of names in tokens and registrations, and suggestions for misspelt names.

/// Whether a text is a client id (RFC 6749 appendix A.1) of at most 256 characters.
#[must_use]
pub fn is_client_id(text: &str) -> bool {
    matches!(text.len(), 1..=256) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Whether a text is an audience. Requests join several with spaces, so an audience cannot contain
/// one.
#[must_use]
pub fn is_audience(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// Whether a text is the name of a claim: 1 to 128 bytes without control characters.
#[must_use]
pub fn is_claim_name(text: &str) -> bool {
    matches!(text.len(), 1..=128) && !text.chars().any(char::is_control)
}

/// The compared length of a name: the cost of a comparison is quadratic.
const MAX_COMPARED: usize = 64;
/// The length difference up to which a name is near if one is a prefix of the other.
const MAX_ADDED: usize = 4;

/// The known name that is nearest to `wanted`, if it is near enough. At most a third of the
/// characters differ, and at most three, or one name is a prefix of the other. Case, `_` and `-`
/// are ignored.
#[must_use]
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = simple(wanted);
    let near = known
        .into_iter()
        .filter_map(|name| Some((distance(&wanted, &simple(name))?, name)));
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

fn simple(name: &str) -> String {
    let letters = name
        .chars()
        .take(MAX_COMPARED)
        .filter(|c| !matches!(c, '_' | '-'));
    letters.flat_map(char::to_lowercase).collect()
}

/// The distance of two names; `None` if they are too far apart.
fn distance(one: &str, other: &str) -> Option<usize> {
    let (short, long) = if one.chars().count() <= other.chars().count() {
        (one, other)
    } else {
        (other, one)
    };
    let length = short.chars().count();
    let distance = strsim::osa_distance(short, long);
    let begins = length >= 4 && long.starts_with(short) && distance <= MAX_ADDED;
    let is_near = distance <= length.div_ceil(3).min(3);
    (length > 0 && (is_near || begins)).then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_the_one_that_was_meant() {
        let known = [
            "probes",
            "audiences",
            "upstream",
            "scope",
            "client_id",
            "owner",
            "tls",
        ];
        for (wanted, meant) in [
            ("prob", "probes"),
            ("audience", "audiences"),
            ("Audiences", "audiences"),
            ("upstream_url", "upstream"),
            ("upstraem", "upstream"),
            ("scpe", "scope"),
            ("clientId", "client_id"),
            ("client-id", "client_id"),
            ("ownr", "owner"),
            ("tsl", "tls"),
        ] {
            assert_eq!(nearest(wanted, known), Some(meant), "{wanted}");
        }
    }

    #[test]
    fn a_name_that_is_like_none_finds_none() {
        let known = [
            "issuer", "admin", "url", "listen", "scope", "owner", "claims", "limits",
        ];
        for wanted in [
            "colour",
            "tls",
            "x",
            "",
            "___",
            "quota",
            "certificate",
            "port",
            "ü",
            &"scope".repeat(100),
        ] {
            assert_eq!(nearest(wanted, known), None, "{wanted}");
        }
    }
}
