//! The grammars of names that tokens and registrations carry, and the known name that a misspelt
//! one probably means.

/// Whether a text is a client id (RFC 6749 appendix A.1), of at most 256 characters.
#[must_use]
pub fn is_client_id(text: &str) -> bool {
    matches!(text.len(), 1..=256) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Whether a text is an audience. Requests join several with spaces, so none can hold one.
#[must_use]
pub fn is_audience(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// Whether a text is the name of a claim: 1 to 128 bytes, none of them a control character.
#[must_use]
pub fn is_claim_name(text: &str) -> bool {
    matches!(text.len(), 1..=128) && !text.chars().any(char::is_control)
}

/// Only so much of a name is compared: the cost of a comparison grows with the square of the
/// length.
const MAX_COMPARED: usize = 64;
/// A known name that is the beginning of the wanted one, or the other way round, is near up to this
/// difference in length.
const MAX_ADDED: usize = 4;

/// The known name that is nearest to `wanted`, if one is near enough to be meant: a third of its
/// characters differ at most, and never more than three, or one of the two names begins with the
/// other. Case, `_` and `-` do not count.
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

/// How far two names are apart; none when too far.
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
