//! The value of `Host`.

/// `uri-host [ ":" port ]` (RFC 9110 §7.2), limited to the characters of names and addresses.
/// Servers disagree about the host if it contains a comma, a slash or an `@`.
pub(in crate::proxy) fn is_host(value: &[u8]) -> bool {
    let (host, rest) = match value.strip_prefix(b"[") {
        Some(rest) => match rest.iter().position(|byte| *byte == b']') {
            Some(end) => (rest.get(..end), rest.get(end + 1..)),
            None => return false,
        },
        None => {
            let end = value
                .iter()
                .position(|byte| *byte == b':')
                .unwrap_or(value.len());
            (value.get(..end), value.get(end..))
        }
    };
    let is_address = value.first() == Some(&b'[');
    let is_host_byte = |byte: &u8| match byte {
        b':' => is_address,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' => true,
        b'-' | b'_' => !is_address,
        _ => false,
    };
    let host_is_valid = host.is_some_and(|host| !host.is_empty() && host.iter().all(is_host_byte));
    let port_is_valid = match rest {
        Some([]) => true,
        Some([b':', port @ ..]) => {
            (1..=5).contains(&port.len()) && port.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    host_is_valid && port_is_valid
}
