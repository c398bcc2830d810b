//! The checks of both sides of a recording.

use super::Recording;
use super::reading::{self, Sent};
use super::strict::{Body, Message, message};

/// Checks every byte that the upstream and the client have received. Panics at a fault.
pub fn check(recording: &Recording) {
    let (sent, has_more) = reading::requests(&recording.sent);
    // In the order of the connections; a repeated request comes on a newer one.
    let mut from = 0;
    for upstream in &recording.upstreams {
        from = check_upstream(upstream, &sent, from);
    }
    check_client(recording, &sent, has_more);
}

/// Checks that each request was sent by the client, in order, and is permitted. Returns the place
/// of the last one among those of the client.
fn check_upstream(mut bytes: &[u8], sent: &[Sent], from: usize) -> usize {
    let mut at = from;
    let mut is_first = true;
    while !bytes.is_empty() {
        let Some((mut request, length)) = message(bytes, request_body, |_| false) else {
            // The connection broke inside a head.
            break;
        };
        if take_upgrade(&mut request) {
            // Its frames may follow.
            check_request(&request);
            return sent.len();
        }
        check_request(&request);
        let words = request.words();
        let is_it = |sent: &Sent| {
            let is_body = match request.is_whole {
                true => sent.is_whole && sent.body == request.body,
                false => sent.body.starts_with(&request.body),
            };
            sent.method == words[0] && is_body
        };
        // The same request again only as the first one of another connection.
        let next = if is_first { from } else { at + 1 };
        let found = sent.iter().skip(next).position(is_it);
        at = next
            + found.unwrap_or_else(|| panic!("the client did not send {request:?}, but {sent:?}"));
        is_first = false;
        bytes = &bytes[length..];
    }
    at
}

/// Removes the fields of an upgrade to a WebSocket. Returns whether there is one.
pub fn take_upgrade(request: &mut Message) -> bool {
    let is_websocket = request.all("upgrade") == ["websocket"];
    if is_websocket {
        assert_eq!(request.all("connection"), ["Upgrade"], "{request:?}");
        let is_upgrade = |name: &str| matches!(name, "upgrade" | "connection");
        request.fields.retain(|(name, _)| !is_upgrade(name));
    }
    is_websocket
}

pub fn request_body(request: &Message) -> Body {
    match (
        &request.all("content-length")[..],
        &request.all("transfer-encoding")[..],
    ) {
        ([], []) => Body::None,
        ([length], []) => Body::Length(digits(length)),
        ([], ["chunked"]) => Body::Chunked,
        both => panic!("two framings: {both:?}"),
    }
}

fn digits(text: &str) -> usize {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    assert!(is_plain, "a length: {text:?}");
    text.parse().unwrap_or(usize::MAX)
}

/// Fields of the client's own connection, or that only the sidecar may set.
const REMOVED: &[&str] = &[
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
];

/// Fields that the sidecar writes, at most once.
const OWN: &[&str] = &[
    "host",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
    "m2m-loop",
    "authorization",
    "content-length",
    "transfer-encoding",
    "connection",
];

/// Checks a request that the upstream has received: only `/public` is permitted without a token.
pub fn check_request(request: &Message) {
    let words = request.words();
    let [method, target, "HTTP/1.1"] = words[..] else {
        panic!("no request line: {request:?}")
    };
    let is_method = |byte: u8| byte.is_ascii_uppercase() || b"-_0123456789".contains(&byte);
    assert!(
        !method.is_empty() && method.bytes().all(is_method),
        "{request:?}"
    );
    assert!(!matches!(method, "CONNECT" | "TRACE"), "{request:?}");
    let path = target.split('?').next().unwrap_or_default();
    assert!(
        path == "/public" || path.starts_with("/public/"),
        "{request:?}"
    );
    assert!(
        target.bytes().all(|byte| byte.is_ascii_graphic()),
        "{request:?}"
    );
    let lower = path.to_lowercase();
    for hidden in ["//", "\\", "#", ";", "%2f", "%5c", "%2e", "%00", "%25"] {
        assert!(!lower.contains(hidden), "{hidden}: {request:?}");
    }
    let is_segment = |segment: &str| segment != "." && segment != "..";
    assert!(path.split('/').all(is_segment), "{request:?}");
    assert_eq!(request.all("host").len(), 1, "{request:?}");
    for (name, value) in &request.fields {
        let plain = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        assert!(!plain.starts_with("x-m2m-"), "identity: {request:?}");
        assert!(!REMOVED.contains(&name.as_str()), "{name}: {request:?}");
        let is_imitation = OWN.contains(&plain.as_str()) && plain != *name;
        assert!(!is_imitation, "an imitation: {request:?}");
        assert!(name != "connection" || value == "close", "{request:?}");
        assert!(
            name != "expect" || value.eq_ignore_ascii_case("100-continue"),
            "{request:?}"
        );
    }
    // A public request may have any credentials, which nothing checks.
    for name in OWN.iter().filter(|name| **name != "authorization") {
        assert!(request.all(name).len() < 2, "{name} twice: {request:?}");
    }
}

/// Checks that the client has received answers to its own requests, in order, and nothing else.
fn check_client(recording: &Recording, sent: &[Sent], has_more: bool) {
    let mut bytes = &recording.received[..];
    // The head of a SETTINGS frame: the client has begun HTTP/2, whose frames `http2` tests.
    if bytes.get(..2) == Some(&[0, 0]) {
        return;
    }
    let (mut answered, mut is_last) = (0, false);
    while !bytes.is_empty() {
        assert!(!is_last, "bytes behind the last answer: {bytes:?}");
        let whole = sent.get(answered);
        assert!(whole.is_some() || has_more, "an answer to no request");
        let method = whole.map_or("", |sent| sent.method.as_str());
        let read = message(bytes, |answer| response_body(answer, method), may_trail);
        let Some((answer, length)) = read else {
            // A reset in the middle of a head.
            assert!(recording.is_reset, "half a head: {bytes:?}");
            return;
        };
        if answer.words()[1] == "101" {
            // The rest are the frames of a WebSocket.
            assert_eq!(answer.all("upgrade"), ["websocket"], "{answer:?}");
            return;
        }
        let status = check_response(&answer, whole);
        bytes = &bytes[length..];
        if status < 200 {
            continue;
        }
        answered += 1;
        let says_close = answer.all("connection").contains(&"close");
        is_last = says_close || answer.ends_with_connection || !answer.is_whole;
    }
    // An open connection has answered every whole request.
    if !is_last && !recording.is_reset {
        let whole = sent.iter().filter(|sent| sent.is_whole).count();
        assert!(answered >= whole, "{answered} answers to {whole} requests");
    }
}

fn response_body(answer: &Message, method: &str) -> Body {
    let status = answer.words()[1];
    let lengths = answer.all("content-length");
    let codings = answer.all("transfer-encoding");
    let is_bodiless = status.starts_with('1') || status == "204";
    if is_bodiless {
        assert!(lengths.is_empty() && codings.is_empty(), "{answer:?}");
    }
    assert!(lengths.len() + codings.len() < 2, "{answer:?}");
    match (&lengths[..], &codings[..]) {
        _ if is_bodiless || status == "304" || method == "HEAD" => Body::None,
        ([length], []) => Body::Length(digits(length)),
        ([], [coding]) if is_chunked(coding) => Body::Chunked,
        _ => Body::UntilClose,
    }
}

fn is_chunked(coding: &str) -> bool {
    let last = coding.rsplit(',').next().unwrap_or_default();
    last.trim().eq_ignore_ascii_case("chunked")
}

/// Checks the head of a response to this request, and returns its status.
fn check_response(answer: &Message, request: Option<&Sent>) -> u16 {
    let words = answer.words();
    assert!(
        words.len() == 3 && words[0] == "HTTP/1.1" && words[1].len() == 3,
        "{answer:?}"
    );
    let status: u16 = words[1].parse().expect("a status");
    assert!(status >= 100 && status != 101, "{answer:?}");
    let is_1_0 = request.is_some_and(|request| request.is_1_0);
    assert!(
        !is_1_0 || status >= 200 && answer.all("transfer-encoding").is_empty(),
        "{answer:?}"
    );
    for name in ["te", "trailer", "upgrade", "proxy-connection"] {
        assert!(answer.all(name).is_empty(), "{name}: {answer:?}");
    }
    for name in ["connection", "keep-alive", "x-m2m-reason"] {
        assert!(answer.all(name).len() < 2, "{name}: {answer:?}");
    }
    let has_reason = !answer.all("x-m2m-reason").is_empty();
    assert!(!has_reason || status >= 400, "{answer:?}");
    status
}

/// Whether a field may stand in trailers.
fn may_trail(name: &str) -> bool {
    let framing = ["content-length", "transfer-encoding", "trailer", "te"];
    let others = [
        "host",
        "connection",
        "keep-alive",
        "upgrade",
        "authorization",
        "set-cookie",
        "www-authenticate",
        "content-type",
    ];
    !framing.contains(&name) && !others.contains(&name) && !name.starts_with("x-m2m-")
}
