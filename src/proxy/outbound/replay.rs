//! Which answers say that the upstream refuses the token, and which requests can be sent once more.

use http::{HeaderValue, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;

/// gRPC's code for a call without valid authentication.
const UNAUTHENTICATED: &[u8] = b"16";

/// Whether an answer says that the token is not accepted: 401, or the same in gRPC without a message.
pub(super) fn is_token_refused(answer: &ResponseHeader) -> bool {
    if answer.status == StatusCode::UNAUTHORIZED {
        return true;
    }
    let value = |name| answer.headers.get(name).map(http::HeaderValue::as_bytes);
    let is_grpc = value(header::CONTENT_TYPE.as_str())
        .and_then(|kind| kind.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| rest.first().is_none_or(|next| matches!(next, b'+' | b';' | b' ')));
    let is_all = value(header::CONTENT_LENGTH.as_str()) == Some(b"0");
    answer.status == StatusCode::OK && is_grpc && is_all && value("grpc-status") == Some(UNAUTHENTICATED)
}

/// Whether the whole request is in hand: its body has been read to its end, and all of it was kept (64 KiB at most).
pub(super) fn is_in_hand(session: &mut Session) -> bool {
    session.as_mut().is_body_done() && !session.as_ref().retry_buffer_truncated()
}

/// A body that turned out to be empty is one all the same: a server may insist on its length.
pub(super) fn keep_empty_body(session: &Session, request: &mut RequestHeader) -> pingora::Result<()> {
    let was_chunked = session.req_header().headers.contains_key(header::TRANSFER_ENCODING);
    if was_chunked && session.as_ref().get_retry_buffer().is_none() {
        request.remove_header(&header::TRANSFER_ENCODING);
        request.insert_header(header::CONTENT_LENGTH, HeaderValue::from_static("0"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_401_is_one_and_its_likeness_in_grpc_and_nothing_else() {
        let refused = |status: u16, headers: &[(&'static str, &'static str)]| {
            let mut answer = ResponseHeader::build(status, None).unwrap();
            for (name, value) in headers {
                answer.insert_header(*name, *value).unwrap();
            }
            is_token_refused(&answer)
        };
        assert!(refused(401, &[]));
        for kind in ["application/grpc", "application/grpc+proto", "application/grpc; charset=x"] {
            let whole = [("content-type", kind), ("grpc-status", "16"), ("content-length", "0")];
            assert!(refused(200, &whole), "{kind}");
            assert!(!refused(200, &whole[..2]), "a message follows");
        }
        let refused = |status: u16, headers: &[(&'static str, &'static str)]| {
            refused(status, &[headers, &[("content-length", "0")]].concat())
        };
        assert!(!refused(403, &[]));
        assert!(!refused(407, &[]));
        assert!(!refused(200, &[("content-type", "application/grpc"), ("grpc-status", "7")]));
        assert!(!refused(200, &[("content-type", "application/grpc-web"), ("grpc-status", "16")]));
        assert!(!refused(200, &[("content-type", "application/json"), ("grpc-status", "16")]));
        assert!(!refused(500, &[("content-type", "application/grpc"), ("grpc-status", "16")]));
    }
}
