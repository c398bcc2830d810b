//! gRPC over HTTP/2, as far as a proxy reads it: which requests are calls, their deadlines, and the
//! form of a refusal.
//!
//! Other calls pass as ordinary requests with trailers. gRPC-Web is an ordinary request too: its
//! status is in its body, and it has no trailers.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::{AsciiSet, CONTROLS};
use tokio::time::Instant;

/// The media type of calls.
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// How long a call may still end by itself after its deadline, which its service and its client
/// also have. Their end says more.
const GRACE: Duration = Duration::from_secs(1);

/// The longest format that an answer repeats.
const LONGEST_FORMAT: usize = 64;

/// The characters of a message that are percent-encoded.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Whether the content is gRPC: `application/grpc`, also with a format (`+proto`) or parameters.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(media_type) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let (prefix, media_type) = (MEDIA_TYPE, media_type.as_bytes());
    let begin = media_type.get(..prefix.len()).unwrap_or_default();
    begin.eq_ignore_ascii_case(prefix.as_bytes())
        && matches!(
            media_type.get(prefix.len()),
            None | Some(b'+' | b';' | b' ')
        )
}

/// The media type of an answer: that of the call, because some clients accept no other format.
#[must_use]
pub fn media_type_of_answer(headers: &HeaderMap) -> HeaderValue {
    let asked = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let is_end = |byte: &u8| matches!(byte, b';' | b' ');
    let essence = asked.and_then(|asked| asked.split(is_end).next());
    essence
        .filter(|essence| essence.len() <= LONGEST_FORMAT)
        .and_then(|essence| HeaderValue::from_bytes(essence).ok())
        .unwrap_or(MEDIA_TYPE)
}

/// A call in progress.
pub struct Call {
    deadline: Option<Instant>,
}

impl Call {
    /// Begins a call; `None` for another request.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        is_grpc(headers).then(|| Self {
            deadline: timeout(headers).and_then(|time| Instant::now().checked_add(time)),
        })
    }

    /// When the sidecar ends it.
    #[must_use]
    pub fn end(&self) -> Option<Instant> {
        self.deadline?.checked_add(GRACE)
    }

    /// Whether the client's deadline has passed.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| deadline <= Instant::now())
    }
}

/// Whether a response may pause for any time: a call, events, or lines of JSON.
#[must_use]
pub fn is_stream(headers: &HeaderMap) -> bool {
    let Some(media_type) = headers.get(header::CONTENT_TYPE) else {
        return false;
    };
    let essence = media_type.as_bytes().split(|byte| *byte == b';').next();
    let essence = essence.unwrap_or_default().trim_ascii();
    let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
    is("text/event-stream")
        || is("application/x-ndjson")
        || is("application/ndjson")
        || is_grpc(headers)
}

/// The time that the client gives a call; `None` without one that can be read.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_digit());
    let number: u32 = digits.parse().ok().filter(|_| is_number)?;
    let unit = match unit {
        "H" => Duration::from_hours(1),
        "M" => Duration::from_mins(1),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        "n" => Duration::from_nanos(1),
        _ => return None,
    };
    Some(unit.saturating_mul(number))
}

/// A message in the form of the field `grpc-message`.
#[must_use]
pub fn message(text: &str) -> HeaderValue {
    let encoded: Cow<'_, str> = percent_encoding::utf8_percent_encode(text, ENCODED).into();
    HeaderValue::from_str(&encoded).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        [(name, HeaderValue::from_str(value).unwrap())]
            .into_iter()
            .collect()
    }

    #[test]
    fn a_call_is_known_by_its_media_type() {
        for (media_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC;charset=utf-8", true),
            ("application/grpc ; a=b", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("", false),
        ] {
            let headers = with(header::CONTENT_TYPE, media_type);
            assert_eq!(is_grpc(&headers), expected, "{media_type}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn an_answer_has_the_format_of_its_call() {
        let long = format!("application/grpc+{}", "x".repeat(100));
        for (asked, answered) in [
            ("application/grpc", "application/grpc"),
            ("application/grpc+json; a=b", "application/grpc+json"),
            ("application/grpc a", "application/grpc"),
            (&*long, "application/grpc"),
        ] {
            let headers = with(header::CONTENT_TYPE, asked);
            assert_eq!(media_type_of_answer(&headers), answered, "{asked}");
        }
    }

    #[test]
    fn a_response_that_may_pause_is_known_by_its_media_type() {
        for (media_type, expected) in [
            ("text/event-stream; charset=utf-8", true),
            ("application/x-ndjson", true),
            ("application/grpc+json", true),
            ("text/html", false),
            ("text/event-streams", false),
        ] {
            let headers = with(header::CONTENT_TYPE, media_type);
            assert_eq!(is_stream(&headers), expected, "{media_type}");
        }
    }

    #[test]
    fn a_timeout_has_up_to_eight_digits_and_a_unit() {
        for (text, expected) in [
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("99999999S", Some(99_999_999_000)),
            ("100m", Some(100)),
            ("5000u", Some(5)),
            ("7000000n", Some(7)),
            ("0S", Some(0)),
            ("100000000S", None),
            ("-1S", None),
            ("+1S", None),
            ("1", None),
            ("S", None),
            ("", None),
            ("1s", None),
            ("1.5S", None),
        ] {
            let read = timeout(&with(TIMEOUT, text));
            assert_eq!(read, expected.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    fn a_message_is_percent_encoded() {
        assert_eq!(message("100 % of \u{e9}\n"), "100 %25 of %C3%A9%0A");
    }
}
