use std::time::Duration;

use super::*;

const CLOSED: &str = "it closed the connection before its answer was complete";
const CUT: &str = "the connection ended before the answer was complete";
const NO_HTTP: &str = "its answer is not valid HTTP/1.1";

fn timeouts() -> Timeouts {
    let second = Duration::from_secs(1);
    Timeouts {
        connect: second,
        read: second * 60,
        write: second * 2,
        idle: second,
    }
}

fn connect(kind: ErrorType, text: &'static str) -> UpstreamError {
    UpstreamError::Connect(Error::explain(kind, text))
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

fn alert() -> io::Error {
    let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
    io::Error::new(io::ErrorKind::InvalidData, alert)
}

#[test]
fn each_error_has_its_reason_and_words() {
    let read = |begun| UpstreamError::Read {
        error: reset(),
        begun,
    };
    let broken = |detail| (Reason::UpstreamBroken, Some(detail));
    let head = UpstreamError::Head;
    for (error, (reason, detail), why) in [
        (UpstreamError::Closed { begun: true }, broken(CUT), CLOSED),
        (read(false), broken(CUT), CLOSED),
        (
            UpstreamError::Write(reset()),
            broken("the connection ended while the request was sent"),
            CLOSED,
        ),
        (
            head(HeadFault::Malformed),
            broken("its head is not HTTP/1.1"),
            NO_HTTP,
        ),
        (
            head(HeadFault::Tls),
            broken("its head is not HTTP/1.1"),
            "it answers with TLS, not with HTTP: its URL must begin with `https://`",
        ),
        (
            head(HeadFault::Http2),
            broken("its head is not HTTP/1.1"),
            "it answers with HTTP/2 instead of HTTP/1.1",
        ),
        (
            head(HeadFault::TooManyFields),
            broken("it has more than 256 header fields"),
            NO_HTTP,
        ),
        (
            head(HeadFault::Length),
            broken("its Content-Length is no plain number, or there are two that differ"),
            NO_HTTP,
        ),
        (
            head(HeadFault::TooLarge),
            broken("its head is larger than 1 MiB"),
            NO_HTTP,
        ),
        (
            UpstreamError::Body(ChunkFault::Size),
            broken("its body framing is not valid HTTP/1.1"),
            "its body framing is not valid HTTP/1.1: a chunk does not begin with its size as a \
             hexadecimal number",
        ),
        (
            UpstreamError::Upgrade,
            broken("it agrees to an upgrade that was not asked for"),
            NO_HTTP,
        ),
        (
            UpstreamError::ReadTimeout,
            (Reason::UpstreamTimeout, None),
            "no next part of its answer within 1m (`upstreamTimeouts.read`)",
        ),
        (
            UpstreamError::WriteTimeout,
            (Reason::UpstreamTimeout, None),
            "it took no next part of the request within 2s (`upstreamTimeouts.write`)",
        ),
        (
            connect(ErrorType::ConnectTimedout, ""),
            (Reason::UpstreamTimeout, None),
            "no connection within 1s (`upstreamTimeouts.connect`)",
        ),
        (
            connect(ErrorType::ConnectRefused, ""),
            (Reason::UpstreamUnreachable, None),
            "nothing listens there: the connection was refused",
        ),
    ] {
        let fault = error.fault();
        assert_eq!(fault.reason, reason, "{error:?}");
        assert_eq!(fault.detail().as_deref(), detail, "{error:?}");
        assert_eq!(error.why(&timeouts()), why, "{error:?}");
    }
}

#[test]
fn a_tls_failure_is_told_apart_from_a_broken_answer() {
    let handshake = connect(ErrorType::TLSHandshakeFailure, "UnknownIssuer");
    assert_eq!(
        handshake.fault(),
        Fault::because(Reason::UpstreamTls, NO_HANDSHAKE)
    );
    assert!(handshake.why(&timeouts()).starts_with("TLS: "));
    let untrusted = connect(ErrorType::InvalidCert, "");
    assert_eq!(
        untrusted.fault(),
        Fault::because(Reason::UpstreamTls, UNVERIFIED)
    );
    assert_eq!(untrusted.tls_alert(), None);
    let begun = false;
    for error in [
        UpstreamError::Read {
            error: alert(),
            begun,
        },
        UpstreamError::Write(alert()),
        connect(
            ErrorType::TLSHandshakeFailure,
            "received fatal alert: CertificateRequired",
        ),
    ] {
        let alert = error.tls_alert().unwrap();
        assert!(alert.contains("certificate required"), "{error:?}");
        assert_eq!(error.fault(), Fault::because(Reason::UpstreamTls, alert));
        assert_eq!(error.why(&timeouts()), alert);
    }
}

#[test]
fn only_an_end_without_a_byte_of_an_answer_is_a_swallowed_request() {
    let begun = false;
    let error = reset();
    assert!(UpstreamError::Closed { begun }.has_swallowed());
    assert!(UpstreamError::Read { error, begun }.has_swallowed());
    assert!(UpstreamError::Write(reset()).has_swallowed());
    let (begun, error) = (true, reset());
    for error in [
        UpstreamError::Closed { begun },
        UpstreamError::Read { error, begun },
        UpstreamError::ReadTimeout,
        UpstreamError::WriteTimeout,
        UpstreamError::Head(HeadFault::Malformed),
        connect(ErrorType::ConnectRefused, ""),
    ] {
        assert!(!error.has_swallowed(), "{error:?}");
    }
}
