//! Names as the configuration writes them: of listeners, headers, scopes, audiences, hosts and path
//! patterns.

use std::str::FromStr;

use http::uri::Authority;
use http::{HeaderName, HeaderValue};
use url::Url;

use super::value::{WrongForm, require, text_value};
use crate::domain::name;
use crate::domain::path::{NormalPath, Ordinary};
use crate::domain::scope::ScopeSet;
use crate::domain::web_origin::WebOrigin;

/// Declares a text that is kept as it is once its form was checked.
macro_rules! checked_text {
    ($(#[$doc:meta])+ $name:ident, $format:literal, $shape:literal, $check:expr) => {
        $(#[$doc])+
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
        #[serde(transparent)]
        pub(super) struct $name(pub String);

        text_value!($name, $format, $shape);

        impl FromStr for $name {
            type Err = WrongForm;

            fn from_str(text: &str) -> Result<Self, WrongForm> {
                let check: fn(&str) -> Result<(), WrongForm> = $check;
                check(text).map(|()| Self(text.to_owned()))
            }
        }
    };
}

checked_text!(
    /// The name of a listener, an authority or a credential: it stands in metrics and challenges.
    Name, "name", "a name", |text| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        require(
            matches!(text.len(), 1..=64) && text.bytes().all(allowed),
            "a name is made of 1 to 64 letters, digits, `.`, `_` and `-`",
        )
    }
);

checked_text!(
    /// A client id (RFC 6749 appendix A.1).
    ClientId, "client-id", "a client id", |text| {
        require(
            name::is_client_id(text),
            "a client id is made of 1 to 256 printable ASCII characters",
        )
    }
);

checked_text!(
    /// The name of a claim.
    ClaimName, "claim-name", "the name of a claim", |text| {
        require(
            name::is_claim_name(text),
            "the name of a claim has 1 to 128 characters, none of them a control character",
        )
    }
);

checked_text!(
    /// A value that a claim may have.
    ClaimValue, "claim-value", "a text", |text| {
        require(
            matches!(text.len(), 1..=1024) && !text.chars().any(char::is_control),
            "the value of a claim has 1 to 1024 bytes, none of them a control character",
        )
    }
);

checked_text!(
    /// One scope (RFC 6749 §3.3).
    Scope, "scope-token", "a scope", |text| {
        require(
            ScopeSet::from_tokens([text]).is_ok(),
            "a scope is made of printable ASCII without space, quote or backslash; write several as a list",
        )
    }
);

checked_text!(
    /// An audience. Requests join several with spaces, so none can hold one.
    Audience, "audience", "an audience", |text| {
        require(
            name::is_audience(text),
            "an audience is not empty and holds no white space; write several as a list",
        )
    }
);

checked_text!(
    /// A resource indicator (RFC 8707 §2).
    Resource, "resource", "a resource such as `https://api.example/`", |text| {
        require(
            Url::parse(text).is_ok_and(|url| url.fragment().is_none()),
            "it must be an absolute URI without fragment (RFC 8707 §2)",
        )
    }
);

checked_text!(
    /// The `kid` of a key.
    KeyId, "key-id", "a key id", |text| {
        require(
            matches!(text.len(), 1..=256) && text.bytes().all(|b| matches!(b, b'!'..=b'~')),
            "a key id is made of 1 to 256 printable ASCII characters without spaces",
        )
    }
);

checked_text!(
    /// An HTTP method.
    Method, "method", "an HTTP method such as `GET`", |text| {
        require(!matches!(text, "*" | "ANY" | "ALL"), "for every method leave `methods` out")?;
        require(!text.contains([',', ' ', '|']), "several methods are written as a list: `[GET, POST]`")?;
        let allowed = |b: u8| b.is_ascii_uppercase() || matches!(b, b'-' | b'_');
        require(!text.is_empty() && text.bytes().all(allowed), "methods are written in upper case")
    }
);

checked_text!(
    /// A name that a TLS server proves.
    ServerName, "server-name", "a server name", |text| {
        require(
            rustls::pki_types::ServerName::try_from(text).is_ok(),
            "it must be a host name or an IP address, without port",
        )
    }
);

checked_text!(
    /// A value of the `Host` header.
    HostValue, "host", "a host such as `hub.example` or `hub.example:8443`", |text| {
        require(
            text.parse::<Authority>().is_ok_and(|host| !host.as_str().contains(['@', '*', '%'])),
            "it must be a host name or an IP address, with or without port",
        )
    }
);

checked_text!(
    /// What stands before a token in a header.
    HeaderPrefix, "header-prefix", "a text", |text| {
        require(
            text.len() <= 64 && text.bytes().all(|b| matches!(b, b' '..=b'~')) && !text.starts_with(' '),
            "it is made of at most 64 printable ASCII characters and does not begin with a space",
        )
    }
);

checked_text!(
    /// A further parameter of token requests. Those that other keys set, or that prove who we are,
    /// are not free.
    ExtraParameter, "extra-parameter", "the name of a parameter", |text| {
        let taken = matches!(text, "grant_type" | "scope" | "audience" | "resource") || text.starts_with("client_");
        require(!text.is_empty() && !taken, "this parameter cannot be set here; other keys of the credential do")
    }
);

checked_text!(
    /// A rule's path pattern.
    PathPattern, "path-pattern", "a path pattern such as `/api/**`", path_pattern
);

fn path_pattern(text: &str) -> Result<(), WrongForm> {
    require(text.starts_with('/'), "a pattern begins with `/`")?;
    require(
        text.is_ascii(),
        "characters beyond ASCII are written percent-encoded",
    )?;
    require(
        !has_variable(text),
        "`*` stands for one segment, `**` at the end for any rest; variables such as `:id`, `{id}` or `<id>` are not \
         supported (a segment that begins with a colon is written `%3A`)",
    )?;
    // Whether the listener takes `;` and `%2F` at all is judged where its keys are known.
    let normal = NormalPath::parse_with(text, Ordinary::ALL);
    let normal = normal
        .map_err(|_| WrongForm("no request has such a path: it could be read in two ways"))?;
    require(
        normal.as_str() == text,
        "a pattern is written in the normal form of RFC 3986 §6.2.2: no `.`, `..` or empty segments, escapes in \
         upper case and only where needed",
    )?;
    let mut segments = text
        .split('/')
        .skip(1)
        .filter(|segment| !segment.is_empty())
        .peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "**" => require(
                segments.peek().is_none(),
                "`**` can only be the last segment",
            )?,
            "*" => {}
            _ => require(
                !segment.contains('*'),
                "`*` stands for a whole segment, not for a part of one",
            )?,
        }
    }
    Ok(())
}

/// Whether a pattern has a part that other routers take for a variable: `:id`, `{id}`, `<id>`.
fn has_variable(pattern: &str) -> bool {
    let is_name = |text: &str| {
        let text = text.trim_end_matches(['?', '+']);
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let mut segments = pattern.split('/');
    segments
        .any(|it| it.strip_prefix(':').is_some_and(is_name) || it.contains(['{', '}', '<', '>']))
}

/// Headers that belong to one connection (RFC 9110 §7.6.1), to the message's framing, or to
/// routing; and all that begin with [`OF_CONTENT`].
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
    /// A header name, or the beginning of names, which ends with `*`.
    HeaderPattern, "header-pattern", "a header name such as `Remote-User`, or the beginning of one such as `X-Auth-Request-*`",
    header_pattern
);

fn header_pattern(text: &str) -> Result<(), WrongForm> {
    let Some(beginning) = text.strip_suffix('*') else {
        require(!text.contains('*'), "`*` stands at the end only")?;
        let name = header_name(text)?;
        return require(
            name != "authorization",
            "`authorization: keep | strip` decides on this header",
        );
    };
    require(!beginning.contains('*'), "`*` stands once, at the end")?;
    let beginning = HeaderName::from_bytes(beginning.as_bytes());
    let beginning = beginning.map_err(|_| WrongForm("no header name begins so"))?;
    let beginning = beginning.as_str().replace('_', "-");
    let is_hit = |name: &str| name.starts_with(&beginning);
    require(
        !RESERVED
            .iter()
            .any(|name| *name != "x-m2m-reason" && is_hit(name))
            && !is_hit(OF_CONTENT)
            && !is_hit("authorization")
            && !beginning.starts_with(OF_CONTENT),
        "headers that begin so belong to HTTP itself or to the sidecar",
    )
}

fn header_name(text: &str) -> Result<HeaderName, WrongForm> {
    let name = HeaderName::from_bytes(text.as_bytes());
    let name = name.map_err(|_| WrongForm("it is not a legal header name"))?;
    require(
        !is_reserved(&name),
        "this header belongs to HTTP itself or to the sidecar",
    )?;
    Ok(name)
}

/// A header that tells the upstream who the caller is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub(super) struct IdentityHeader(String);

text_value!(IdentityHeader, "identity-header", "a header name");

impl IdentityHeader {
    /// As configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The header's name.
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
            "`authorization: keep | strip` decides on this header",
        )?;
        require(
            !forwarding.contains(&name.as_str()),
            "the sidecar sets this header from what it saw itself",
        )?;
        Ok(Self(text.to_owned()))
    }
}

/// A header that carries a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenHeader(pub HeaderName);

text_value!(TokenHeader, "token-header", "a header name");

checked_text!(
    /// The origin of web pages.
    WebOriginText, "web-origin", "a web origin such as `https://app.example`", |text| {
        require(
            text.parse::<WebOrigin>().is_ok(),
            "it is made of `http://` or `https://`, a host and perhaps a port, and nothing else",
        )
    }
);

/// A header that a request must have: its name, or name and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeaderMark {
    /// Its name.
    pub name: HeaderName,
    /// Its value, if that matters.
    pub value: Option<HeaderValue>,
}

text_value!(
    HeaderMark,
    "header-mark",
    "a header such as `X-Sidecar` or `X-Sidecar: 1`"
);

/// Headers that a page of another site can send, or that a browser sends of itself (Fetch §2.2.2).
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
            .map_err(|_| WrongForm("no header has such a value"))?;
        require(
            value.as_ref().is_none_or(|value| !value.is_empty()),
            "the value behind the colon is empty",
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

/// A status of failure and the `error` of the challenge that comes with it (RFC 6750 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StatusAndError {
    /// From 400 to 599.
    pub status: u16,
    /// The error code.
    pub error: String,
}

text_value!(
    StatusAndError,
    "status-and-error",
    "a status and an error such as `403 invalid_token`"
);

impl FromStr for StatusAndError {
    type Err = WrongForm;

    fn from_str(text: &str) -> Result<Self, WrongForm> {
        let (status, error) = text
            .split_once(' ')
            .ok_or(WrongForm("the status or the error is missing"))?;
        let status = status
            .parse()
            .map_err(|_| WrongForm("the status is no number"))?;
        require(
            (400..=599).contains(&status),
            "the status must be from 400 to 599",
        )?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        require(
            matches!(error.len(), 1..=64) && error.bytes().all(allowed),
            "the error is made of 1 to 64 letters, digits, `.`, `_` and `-`",
        )?;
        require(
            !["insufficient_scope", "invalid_request"].contains(&error),
            "no other token mends `insufficient_scope` or `invalid_request`",
        )?;
        Ok(Self {
            status,
            error: error.to_owned(),
        })
    }
}

impl serde::Serialize for StatusAndError {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{} {}", self.status, self.error))
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
    use super::*;

    fn accepts<T: FromStr>(texts: &[&str]) {
        for text in texts {
            assert!(text.parse::<T>().is_ok(), "{text:?}");
        }
    }

    fn refuses<T: FromStr>(texts: &[&str]) {
        for text in texts {
            assert!(text.parse::<T>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        accepts::<Name>(&["a", "A.b_c-1", &"x".repeat(64)]);
        refuses::<Name>(&["", "a b", "ä", "a/b", "a\n", &"x".repeat(65)]);
        accepts::<ClientId>(&["legacy", "a b:c", "~"]);
        refuses::<ClientId>(&["", "ä", "a\tb", &"x".repeat(257)]);
    }

    #[test]
    fn patterns_are_in_normal_form() {
        accepts::<PathPattern>(&[
            "/",
            "/**",
            "/*",
            "/a/*/b",
            "/a/b/",
            "/api/v1/**",
            "/caf%C3%A9",
            "/.well-known/x",
            "/v1/devices:batch",
            "/devices/%3Aid",
        ]);
        refuses::<PathPattern>(&[
            "",
            "a",
            "**",
            "/**/a",
            "/a*",
            "/a**",
            "/***",
            "/..;/b",
            "/a%2F..",
            "/a%2fb",
            "/a/../b",
            "/..",
            "/./a",
            "//a",
            "/a//b",
            "/%41",
            "/caf%c3%a9",
            "/café",
            "/{id}",
            "/devices/:id",
            "/devices/:device_id/x",
            "/devices/<id>",
            "/a?b",
            "/a b",
            "/a#b",
            "/a%",
        ]);
    }

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
    fn headers_that_are_removed_are_none_of_http_itself() {
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
    fn a_header_that_is_asked_for_is_none_that_pages_send() {
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
        accepts::<WebOriginText>(&[
            "https://app.example",
            "http://127.0.0.1:3000",
            "http://[::1]:80",
        ]);
        refuses::<WebOriginText>(&[
            "",
            "*",
            "null",
            "app.example",
            "https://a/",
            "https://*.a",
            "ftp://a",
            "https://u@a",
        ]);
    }

    #[test]
    fn parameters_that_other_keys_set_are_not_extra() {
        accepts::<ExtraParameter>(&["tenant", "token_name"]);
        refuses::<ExtraParameter>(&[
            "",
            "grant_type",
            "scope",
            "audience",
            "resource",
            "client_id",
            "client_assertion",
        ]);
    }

    #[test]
    fn other_names() {
        accepts::<Scope>(&["devices:read"]);
        refuses::<Scope>(&["", "a b", "ä", "a\"b"]);
        accepts::<Audience>(&["https://a", "ä"]);
        refuses::<Audience>(&["", "a b", "a\n"]);
        accepts::<Resource>(&["https://a/", "urn:x:y"]);
        refuses::<Resource>(&["", "a", "/a", "https://a#b"]);
        accepts::<Method>(&["GET", "M-SEARCH"]);
        refuses::<Method>(&["", "get", "G T", "*", "ANY", "ALL", "GET,POST"]);
        accepts::<ServerName>(&["a.example", "127.0.0.1", "::1"]);
        refuses::<ServerName>(&["", "a:1", "a b", "[::1]"]);
        accepts::<HostValue>(&["a", "a.example:80", "[::1]:80", "127.0.0.1"]);
        refuses::<HostValue>(&["", "a b", "u@a", "*", "*.a", "a/b", "http://a"]);
        accepts::<HeaderPrefix>(&["", "Bearer ", "token="]);
        refuses::<HeaderPrefix>(&["a\r\nb", "ä", " a", &"x".repeat(65)]);
    }
}
