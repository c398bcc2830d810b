//! What is a CORS preflight (Fetch standard, "CORS-preflight request"), and of which request.

use http::HeaderMap;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};

/// What no browser puts into a preflight: credentials, a body, another method for the service to
/// take the request for. A request that has one is no preflight, so it needs a token.
const NEVER: &[&str] = &[
    "authorization",
    "cookie",
    "content-length",
    "transfer-encoding",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// The method of the request that a preflight announces; `None` for what is no preflight.
pub(super) fn announced_method<'r>(method: &str, headers: &'r HeaderMap) -> Option<&'r str> {
    let only = |name| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    // Servers that follow CGI take other signs for a hyphen.
    let fold = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            byte
        } else {
            b'-'
        }
    };
    let is_never = |name: &str| {
        NEVER
            .iter()
            .any(|never| name.bytes().map(fold).eq(never.bytes()))
    };
    if method != "OPTIONS" || headers.keys().any(|name| is_never(name.as_str())) {
        return None;
    }
    only(ORIGIN)?;
    only(ACCESS_CONTROL_REQUEST_METHOD)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_preflight_is_what_a_browser_sends_and_nothing_else() {
        let announced = |method: &str, headers: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                map.append(name, HeaderValue::from_str(value).unwrap());
            }
            announced_method(method, &map).map(str::to_owned)
        };
        let preflight = [
            ("origin", "https://a.example"),
            ("access-control-request-method", "PUT"),
        ];
        assert_eq!(announced("OPTIONS", &preflight).as_deref(), Some("PUT"));
        assert_eq!(announced("GET", &preflight), None);
        assert_eq!(announced("OPTIONS", &preflight[..1]), None);
        assert_eq!(announced("OPTIONS", &preflight[1..]), None);
        for further in [
            ("origin", "https://b.example"),
            ("access-control-request-method", "GET"),
            ("authorization", "Bearer x"),
            ("cookie", "a=b"),
            ("content-length", "3"),
            ("transfer-encoding", "chunked"),
            ("x-http-method-override", "DELETE"),
            ("X_HTTP_Method_Override", "DELETE"),
            ("X.HTTP.Method.Override", "DELETE"),
        ] {
            assert_eq!(
                announced("OPTIONS", &[preflight[0], preflight[1], further]),
                None,
                "{further:?}"
            );
        }
        let harmless = (
            "access-control-request-headers",
            "authorization, content-type",
        );
        assert!(announced("OPTIONS", &[preflight[0], preflight[1], harmless]).is_some());
    }
}
