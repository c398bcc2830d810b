//! Headers as the configuration names them.

use std::str::FromStr;

use http::{HeaderName, HeaderValue};

use super::name::checked_text;
use super::value::{WrongForm, require, text_value};
use crate::domain::pattern::is_capture_name;
use crate::verifier::RequestPart;

checked_text!(
    /// The text before a token in a header.
    HeaderPrefix, "header-prefix", "a text", |text| {
        require(
            matches!(text.len(), 0..=64)
                && text.bytes().all(|b| matches!(b, b' '..=b'~'))
                && !text.starts_with(' '),
            "it consists of at most 64 printable ASCII characters and must not begin with a space",
        )
    }
);

/// Headers of one connection (RFC 9110 §7.6.1), of framing and of routing. Headers that begin with
/// [`OF_CONTENT`] are reserved too.
const RESERVED: [&str; 13] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "expect",
    "host",
    "x-m2m-reason",
];

const OF_CONTENT: &str = "content-";

fn is_reserved(name: &HeaderName) -> bool {
    name.as_str().starts_with(OF_CONTENT) || RESERVED.contains(&name.as_str())
}

checked_text!(
    /// A header name, or a prefix of names that ends with `*`.
    HeaderPattern, "header-pattern",
    "a header name such as `Remote-User`, or a prefix such as `X-Auth-Request-*`",
    header_pattern
);

fn header_pattern(text: &str) -> Result<(), WrongForm> {
    let Some(beginning) = text.strip_suffix('*') else {
        require(!text.contains('*'), "`*` is allowed only at the end")?;
        let name = header_name(text)?;
        return require(
            name != "authorization",
            "use `authorization: keep | strip` for this header",
        );
    };
    require(
        !beginning.contains('*'),
        "`*` is allowed only once, at the end",
    )?;
    let beginning = HeaderName::from_bytes(beginning.as_bytes());
    let beginning = beginning.map_err(|_| WrongForm("no header name begins like this"))?;
    let beginning = beginning.as_str().replace('_', "-");
    let is_hit = |name: &str| name.starts_with(&beginning);
    require(
        !RESERVED
            .iter()
            .any(|name| *name != "x-m2m-reason" && is_hit(name))
            && !is_hit(OF_CONTENT)
            && !is_hit("authorization")
            && !beginning.starts_with(OF_CONTENT),
        "HTTP or the sidecar uses headers with this prefix",
    )
}

fn header_name(text: &str) -> Result<HeaderName, WrongForm> {
    let name = HeaderName::from_bytes(text.as_bytes());
    let name = name.map_err(|_| WrongForm("it is not a valid header name"))?;
    require(!is_reserved(&name), "HTTP or the sidecar uses this header")?;
    Ok(name)
}

checked_text!(
    /// A header name.
    FieldName, "field-name", "a header name", |text| {
        require(
            HeaderName::from_bytes(text.as_bytes()).is_ok(),
            "it is not a valid header name",
        )
    }
);

checked_text!(
    /// A header name, or `*` for all.
    CorsHeader, "cors-header", "a header name, or `*`", |text| {
        require(
            HeaderName::from_bytes(text.as_bytes()).is_ok(),
            "it is not a valid header name",
        )
    }
);

checked_text!(
    /// A header that the sidecar sets on responses.
    ResponseHeader, "response-header", "a header name such as `Strict-Transport-Security`",
    |text| {
        let name = header_name(text)?;
        require(
            !name.as_str().starts_with("access-control-"),
            "use `cors` for this header",
        )?;
        let is_ours = ["www-authenticate", "retry-after", "date", "vary", "set-cookie"];
        require(
            !is_ours.contains(&name.as_str()),
            "the sidecar or the service must set this header for each response",
        )
    }
);

checked_text!(
    /// The value of a header.
    HeaderText, "header-text", "the value of a header", |text| {
        require(
            matches!(text.len(), 1..=4096)
                && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
                && text.trim() == text,
            "it consists of 1 to 4096 printable ASCII characters, without spaces around them",
        )
    }
);

/// A header that identifies the caller to the upstream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub(super) struct IdentityHeader(String);

text_value!(IdentityHeader, "identity-header", "a header name");

impl IdentityHeader {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn to_name(&self) -> Option<HeaderName> {
        HeaderName::from_bytes(self.0.as_bytes()).ok()
    }
}

impl FromStr for IdentityHeader {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        let name = header_name(text)?;
        let forwarding = [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-real-ip",
        ];
        require(
            name != "authorization",
            "use `authorization: keep | strip` for this header",
        )?;
        require(
            !forwarding.contains(&name.as_str()),
            "the sidecar sets this header itself",
        )?;
        Ok(Self(text.to_owned()))
    }
}

checked_text!(
    /// A header that the sidecar sets on requests to an upstream.
    UpstreamHeader, "upstream-header", "a header name such as `X-API-Key`", |text| {
        let name = header_name(text)?;
        let folded = name.as_str().replace('_', "-");
        let is_own = ["x-m2m-", "x-forwarded-"].iter().any(|own| folded.starts_with(own))
            || ["forwarded", "x-real-ip", "x-request-id", "cookie"].contains(&folded.as_str());
        require(!is_own, "the sidecar sets this header itself, or clients do")
    }
);

/// A part of a request that a rule compares with a claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestPartText {
    written: String,
}

text_value!(
    RequestPartText,
    "request-part",
    "a part of the request: the name of a segment, `query.NAME` or `header.NAME`"
);

impl RequestPartText {
    pub fn as_str(&self) -> &str {
        &self.written
    }

    pub fn part(&self) -> Result<RequestPart, WrongForm> {
        request_part(&self.written)
    }
}

impl FromStr for RequestPartText {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        request_part(text)?;
        Ok(Self {
            written: text.to_owned(),
        })
    }
}

fn request_part(text: &str) -> Result<RequestPart, WrongForm> {
    if let Some(name) = text.strip_prefix("query.") {
        let is_unreserved =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
        require(
            matches!(name.len(), 1..=64)
                && name.bytes().all(is_unreserved)
                && name.bytes().any(|byte| byte.is_ascii_alphanumeric()),
            "the name of a parameter consists of 1 to 64 letters, digits, `-`, `_`, `.` and `~`",
        )?;
        return Ok(RequestPart::Query(name.to_owned()));
    }
    if let Some(name) = text.strip_prefix("header.") {
        let name = header_name(name)?;
        let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        require(
            name.as_str().bytes().all(is_usual),
            "services could confuse this header with others: use one of letters, digits and `-`",
        )?;
        require(
            name != "authorization" && name != "cookie",
            "this header has more than one value",
        )?;
        return Ok(RequestPart::Header(name));
    }
    require(
        is_capture_name(text),
        "it must be the name of a segment (letters, digits and `_`), `query.NAME` or `header.NAME`",
    )?;
    Ok(RequestPart::Segment(text.to_owned()))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenHeader(pub HeaderName);

text_value!(TokenHeader, "token-header", "a header name");

/// A header that a request must have: a name, or name and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeaderMark {
    pub name: HeaderName,
    /// The required value, if any.
    pub value: Option<HeaderValue>,
}

text_value!(
    HeaderMark,
    "header-mark",
    "a header such as `X-Sidecar` or `X-Sidecar: 1`"
);

/// Headers that browsers send by themselves, or for pages of other sites (Fetch §2.2.2).
const OF_BROWSERS: [&str; 32] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "cookie",
    "date",
    "device-memory",
    "dnt",
    "downlink",
    "dpr",
    "early-data",
    "ect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-event-id",
    "origin",
    "pragma",
    "priority",
    "purpose",
    "range",
    "referer",
    "rtt",
    "save-data",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "width",
];

impl FromStr for HeaderMark {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        let (name, value) = text
            .split_once(':')
            .map_or((text, None), |(name, value)| (name, Some(value)));
        let name = header_name(name)?;
        let text = name.as_str();
        let is_of_browsers = OF_BROWSERS.contains(&text)
            || ["sec-", "proxy-", "access-control-", "viewport-"]
                .iter()
                .any(|family| text.starts_with(family));
        require(!is_of_browsers, "browsers send this header for any page")?;
        let value = value.map(|value| HeaderValue::from_str(value.trim()));
        let value = value
            .transpose()
            .map_err(|_| WrongForm("it is not a valid header value"))?;
        require(
            value.as_ref().is_none_or(|value| !value.is_empty()),
            "the value after the colon is empty",
        )?;
        Ok(Self { name, value })
    }
}

impl serde::Serialize for HeaderMark {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.value.as_ref().and_then(|value| value.to_str().ok());
        match value {
            Some(value) => serializer.collect_str(&format_args!("{}: {value}", self.name)),
            None => serializer.serialize_str(self.name.as_str()),
        }
    }
}

impl FromStr for TokenHeader {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        header_name(text).map(Self)
    }
}

impl serde::Serialize for TokenHeader {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let authorization = self.0 == http::header::AUTHORIZATION;
        serializer.serialize_str(if authorization {
            "Authorization"
        } else {
            self.0.as_str()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::tests::{accepts, refuses};
    use super::*;

    #[test]
    fn identity_headers_cannot_touch_http_itself() {
        accepts::<IdentityHeader>(&["x-m2m-subject", "X-User", "x_user", "x-forwarded-user"]);
        refuses::<IdentityHeader>(&[
            "",
            "a b",
            "x:",
            "ä",
            "Host",
            "connection",
            "Keep-Alive",
            "TE",
            "trailer",
            "Transfer-Encoding",
            "upgrade",
            "content-length",
            "Content-Type",
            "authorization",
            "proxy-authorization",
            "X-M2M-Reason",
            "x-forwarded-for",
            "forwarded",
        ]);
        accepts::<TokenHeader>(&["Authorization", "x-api-key"]);
        refuses::<TokenHeader>(&["host", "content-length", "connection", "a b"]);
    }

    #[test]
    fn removed_headers_exclude_those_of_http() {
        accepts::<HeaderPattern>(&[
            "Remote-User",
            "X-Auth-Request-*",
            "x_ssl*",
            "X-*",
            "Cookie",
            "Proxy",
        ]);
        refuses::<HeaderPattern>(&[
            "",
            "*",
            "h*",
            "H*",
            "Content-*",
            "con*",
            "content_l*",
            "Transfer-*",
            "auth*",
            "Authorization",
            "Host",
            "X-*-Y",
            "X-**",
            "a b",
            "a b*",
        ]);
        for pattern in crate::proxy::headers::OF_OTHER_PROXIES {
            accepts::<HeaderPattern>(&[pattern]);
        }
    }

    #[test]
    fn required_headers_are_not_headers_of_pages() {
        accepts::<HeaderMark>(&[
            "X-Sidecar",
            "X-Sidecar: 1",
            "x-m2m-sidecar:1",
            "SOAPAction",
            "X-Requested-With",
        ]);
        refuses::<HeaderMark>(&[
            "",
            ": 1",
            "X-Sidecar:",
            "a b",
            "Accept",
            "accept-language: x",
            "Content-Type: application/json",
            "User-Agent",
            "Cookie",
            "Host",
            "Origin",
            "Sec-Fetch-Site",
            "Range",
            "Authorization",
        ]);
        accepts::<HeaderPrefix>(&["", "Bearer ", "token="]);
        refuses::<HeaderPrefix>(&["a\r\nb", "ä", " a", &"x".repeat(65)]);
    }
}
