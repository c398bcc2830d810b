//! CORS preflights (Fetch standard, "CORS-preflight request") and the requests that they announce.

use http::HeaderMap;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};

/// Header fields that browsers never put into a preflight: credentials, a body, another method. A
/// request with one of them is not a preflight, so it needs a token.
const NEVER: &[&str] = &[
    "authorization",
    "cookie",
    "content-length",
    "transfer-encoding",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// The method of the request that a preflight announces; `None` if the request is not a preflight.
pub(super) fn announced_method<'r>(method: &str, headers: &'r HeaderMap) -> Option<&'r str> {
    let only = |name| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    // CGI servers treat other characters as a hyphen.
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
    fn only_the_preflights_of_browsers_are_preflights() {
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
