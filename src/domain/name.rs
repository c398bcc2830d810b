//! The grammars of names that tokens and registrations carry.

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
