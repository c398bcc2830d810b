//! The id that correlates one request across logs: taken from the client, or generated.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header, from the client and to the upstream.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest accepted id, in bytes.
const LONGEST: usize = 128;

/// The request's own id if it has exactly one usable value, else a new one.
#[must_use]
pub fn taken_over_or_made(headers: &HeaderMap) -> HeaderValue {
    let mut values = headers.get_all(REQUEST_ID).iter();
    match (values.next(), values.next()) {
        (Some(only), None) if is_usable(only.as_bytes()) => only.clone(),
        _ => made(),
    }
}

/// Visible ASCII without the separators of logs and lists.
fn is_usable(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',' | b';');
    (1..=LONGEST).contains(&id.len()) && id.iter().all(plain)
}

/// 32 hexadecimal digits: a random number of this process and a counter.
fn made() -> HeaderValue {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let process = PROCESS.get_or_init(|| uuid::Uuid::new_v4().as_u64_pair().0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // Hexadecimal digits are always a valid header value.
    HeaderValue::from_bytes(&hexadecimal(u128::from(*process) << 64 | u128::from(count)))
        .unwrap_or(HeaderValue::from_static("0"))
}

/// Faster than the standard formatting, and this is done for each request.
fn hexadecimal(number: u128) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|place| DIGITS[(number >> (124 - 4 * place) & 15) as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> HeaderValue {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(REQUEST_ID, HeaderValue::from_str(value).unwrap());
        }
        taken_over_or_made(&headers)
    }

    #[test]
    fn a_usable_id_is_taken_over() {
        let longest = "x".repeat(LONGEST);
        for id in [
            "7f1c",
            "0af7651916cd43dd8448eb211c80319c",
            "Root=1-67891233-abcdef012345678912345678",
            &longest,
        ] {
            assert_eq!(of(&[id]), id);
        }
    }

    #[test]
    fn numbers_are_written_like_the_standard_formatting_does() {
        for number in [0, 1, 0xf, u128::MAX, 0x0123_4567_89ab_cdef << 60] {
            assert_eq!(hexadecimal(number), format!("{number:032x}").as_bytes());
        }
    }

    #[test]
    fn for_any_other_a_new_one_is_made_each_time() {
        let too_long = "x".repeat(LONGEST + 1);
        for bad in [
            &[][..],
            &[""],
            &["a b"],
            &["a\"b"],
            &["a,b"],
            &["ü"],
            &[&too_long],
            &["a", "a"],
        ] {
            let (first, second) = (of(bad), of(bad));
            assert!(first != second && first.len() == 32, "{bad:?}: {first:?}");
            assert!(
                first.as_bytes().iter().all(u8::is_ascii_hexdigit),
                "{first:?}"
            );
        }
    }
}
