//! TLS alerts (RFC 8446 §6, RFC 5246 §7.2): the other side's reason to end a TLS connection.
//!
//! In TLS 1.3 the client's handshake ends before the server has read the client's certificate. An
//! alert about that certificate arrives when the client reads the response.

/// rustls' text before the name of a received alert.
const RECEIVED: &str = "received fatal alert: ";

/// An alert with an unassigned number.
const UNKNOWN: &str = "TLS alert of an unknown kind";

/// rustls' name of each alert, and its explanation with the RFC's name.
const ALERTS: [(&str, &str); 34] = [
    ("UnexpectedMessage", "TLS alert unexpected message"),
    (
        "BadRecordMac",
        "TLS alert bad record mac: the bytes were changed on the way, or its TLS is broken",
    ),
    ("DecryptionFailed", "TLS alert decryption failed"),
    ("RecordOverflow", "TLS alert record overflow"),
    ("DecompressionFailure", "TLS alert decompression failure"),
    (
        "HandshakeFailure",
        "TLS alert handshake failure: it accepts none of the ciphers and groups offered, or it \
         speaks TLS 1.2 and demands a client \
         certificate",
    ),
    (
        "NoCertificate",
        "TLS alert no certificate: it demands a client certificate",
    ),
    (
        "BadCertificate",
        "TLS alert bad certificate: it refuses the client certificate, or it demands one and got \
         none",
    ),
    (
        "UnsupportedCertificate",
        "TLS alert unsupported certificate: it does not accept client certificates of this kind",
    ),
    (
        "CertificateRevoked",
        "TLS alert certificate revoked: the client certificate is revoked",
    ),
    (
        "CertificateExpired",
        "TLS alert certificate expired: the client certificate has expired",
    ),
    (
        "CertificateUnknown",
        "TLS alert certificate unknown: it refuses the client certificate",
    ),
    ("IllegalParameter", "TLS alert illegal parameter"),
    (
        "UnknownCA",
        "TLS alert unknown ca: it does not trust the client certificate",
    ),
    (
        "AccessDenied",
        "TLS alert access denied: it does not serve this client",
    ),
    ("DecodeError", "TLS alert decode error"),
    (
        "DecryptError",
        "TLS alert decrypt error: it could not verify a signature",
    ),
    ("ExportRestriction", "TLS alert export restriction"),
    (
        "ProtocolVersion",
        "TLS alert protocol version: it speaks neither TLS 1.2 nor TLS 1.3",
    ),
    (
        "InsufficientSecurity",
        "TLS alert insufficient security: it demands stronger ciphers than those offered",
    ),
    (
        "InternalError",
        "TLS alert internal error: a fault of the server; see its own log",
    ),
    ("InappropriateFallback", "TLS alert inappropriate fallback"),
    ("UserCanceled", "TLS alert user canceled"),
    ("NoRenegotiation", "TLS alert no renegotiation"),
    ("MissingExtension", "TLS alert missing extension"),
    ("UnsupportedExtension", "TLS alert unsupported extension"),
    (
        "CertificateUnobtainable",
        "TLS alert certificate unobtainable",
    ),
    (
        "UnrecognisedName",
        "TLS alert unrecognized name: it has no certificate for this name; `serverName` of an \
         upstream sends another one",
    ),
    (
        "BadCertificateStatusResponse",
        "TLS alert bad certificate status response",
    ),
    (
        "BadCertificateHashValue",
        "TLS alert bad certificate hash value",
    ),
    ("UnknownPSKIdentity", "TLS alert unknown psk identity"),
    (
        "CertificateRequired",
        "TLS alert certificate required: it demands a client certificate",
    ),
    (
        "NoApplicationProtocol",
        "TLS alert no application protocol: it does not speak HTTP/1.1 on this port",
    ),
    ("EncryptedClientHelloRequired", "TLS alert ech required"),
];

/// The alert in an error text: a constant that begins with `TLS alert`, or `None`. `error` is
/// rustls' text, alone or within another text.
#[must_use]
pub fn alert_in(error: &str) -> Option<&'static str> {
    let (_, rest) = error.split_once(RECEIVED)?;
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(rest.len());
    let name = rest.get(..end)?;
    Some(
        ALERTS
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(UNKNOWN, |(_, text)| text),
    )
}

#[cfg(test)]
mod tests {
    use rustls::AlertDescription;

    use super::*;

    #[test]
    fn every_alert_of_the_tls_library_has_words_of_its_own() {
        let mut named = 0;
        for number in 0..=u8::MAX {
            let alert = AlertDescription::from(number);
            let text = rustls::Error::AlertReceived(alert).to_string();
            let known = !matches!(
                alert,
                AlertDescription::Unknown(_) | AlertDescription::CloseNotify
            );
            let words = alert_in(&format!("ReadError context: x cause: {text}")).unwrap();
            assert!(words.starts_with("TLS alert "), "{words}");
            assert_eq!(words == UNKNOWN, !known, "{number}: {text}");
            named += usize::from(known);
        }
        assert_eq!(named, ALERTS.len());
    }

    #[test]
    fn a_text_without_an_alert_has_none() {
        for text in [
            "",
            "invalid peer certificate: UnknownIssuer",
            "received fatal alert",
        ] {
            assert_eq!(alert_in(text), None, "{text}");
        }
        assert_eq!(alert_in("received fatal alert: "), Some(UNKNOWN));
        assert_eq!(
            alert_in("received fatal alert: Unknown(0xc8)"),
            Some(UNKNOWN)
        );
    }
}
