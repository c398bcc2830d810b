//! Names in the configuration: of listeners, clients, claims, scopes, audiences, hosts and paths.

use std::str::FromStr;

use http::uri::Authority;
use url::Url;

use super::value::{WrongForm, require, text_value};
use crate::domain::cookies;
use crate::domain::name;
use crate::domain::path::{NormalPath, Ordinary};
use crate::domain::pattern;
use crate::domain::scope::ScopeSet;
use crate::domain::web_origin::WebOrigin;

/// Declares a text whose form is checked and whose content is kept.
macro_rules! checked_text {
    ($(#[$doc:meta])+ $name:ident, $format:literal, $shape:literal, $check:expr) => {
        $(#[$doc])+
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
        #[serde(transparent)]
        pub(super) struct $name(pub String);

        text_value!($name, $format, $shape);

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl FromStr for $name {
            type Err = WrongForm;

            fn from_str(text: &str) -> Result<Self, WrongForm> {
                let check: fn(&str) -> Result<(), WrongForm> = $check;
                check(text).map(|()| Self(text.to_owned()))
            }
        }
    };
}
pub(super) use checked_text;

checked_text!(
    /// The name of a listener, an authority or a credential, used in metrics and challenges.
    Name, "name", "a name", |text| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        require(
            matches!(text.len(), 1..=64) && text.bytes().all(allowed),
            "a name consists of 1 to 64 letters, digits, `.`, `_` and `-`",
        )
    }
);

checked_text!(
    /// A client id (RFC 6749 appendix A.1).
    ClientId, "client-id", "a client id", |text| {
        require(
            name::is_client_id(text),
            "a client id consists of 1 to 256 printable ASCII characters",
        )
    }
);

checked_text!(
    /// The name of a claim.
    ClaimName, "claim-name", "the name of a claim", |text| {
        require(
            name::is_claim_name(text),
            "the name of a claim consists of 1 to 128 characters without control characters",
        )
    }
);

checked_text!(
    /// A value of a claim.
    ClaimValue, "claim-value", "a text", |text| {
        require(
            matches!(text.len(), 1..=1024) && !text.chars().any(char::is_control),
            "the value of a claim consists of 1 to 1024 bytes without control characters",
        )
    }
);

checked_text!(
    /// One scope (RFC 6749 §3.3).
    Scope, "scope-token", "a scope", |text| {
        require(
            ScopeSet::from_tokens([text]).is_ok(),
            "a scope consists of printable ASCII characters without spaces, quotes and \
             backslashes; write several scopes as a list",
        )
    }
);

checked_text!(
    /// An audience. Requests join several with spaces, so an audience cannot contain one.
    Audience, "audience", "an audience", |text| {
        require(
            name::is_audience(text),
            "an audience must not be empty or contain white space; write several audiences as a \
             list",
        )
    }
);

checked_text!(
    /// A resource indicator (RFC 8707 §2).
    Resource, "resource", "a resource such as `https://api.example/`", |text| {
        require(
            Url::parse(text).is_ok_and(|url| url.fragment().is_none()),
            "it must be an absolute URI without a fragment (RFC 8707 §2)",
        )
    }
);

checked_text!(
    /// The `kid` of a key.
    KeyId, "key-id", "a key id", |text| {
        require(
            matches!(text.len(), 1..=256) && text.bytes().all(|b| matches!(b, b'!'..=b'~')),
            "a key id consists of 1 to 256 printable ASCII characters without spaces",
        )
    }
);

checked_text!(
    /// The origin of web pages, or `*` for all.
    CorsOrigin, "cors-origin", "a web origin such as `https://app.example`, or `*`", |text| {
        require(
            text == "*" || text.parse::<WebOrigin>().is_ok(),
            "a web origin consists of `http://` or `https://`, a host and an optional port",
        )
    }
);

checked_text!(
    /// The user of Basic credentials (RFC 7617 §2).
    BasicUser, "basic-user", "the name of a user", |text| {
        require(
            !text.contains(':') && !text.chars().any(char::is_control),
            "a user of Basic credentials has no colon and no control characters (RFC 7617 §2)",
        )
    }
);

checked_text!(
    /// The beginning of paths.
    PathPrefix, "path-prefix", "the beginning of paths such as `/api`", |text| {
        require(text.starts_with('/') && text.len() > 1, "it must begin with `/` and name a segment")?;
        require(!text.ends_with('/'), "remove the slash at the end")?;
        require(!text.contains('*'), "it is no pattern: remove `*`")?;
        require(
            NormalPath::parse(text).is_ok_and(|path| path.as_str() == text),
            "it is not in normal form: write it as requests are forwarded",
        )
    }
);

checked_text!(
    /// An HTTP method.
    Method, "method", "an HTTP method such as `GET`", |text| {
        require(!matches!(text, "*" | "ANY" | "ALL"), "remove `methods` to allow every method")?;
        require(!text.contains([',', ' ', '|']), "write several methods as a list: `[GET, POST]`")?;
        let allowed = |b: u8| b.is_ascii_uppercase() || matches!(b, b'-' | b'_');
        require(!text.is_empty() && text.bytes().all(allowed), "write the method in upper case")
    }
);

checked_text!(
    /// The name of a TLS server.
    ServerName, "server-name", "a server name", |text| {
        require(
            rustls::pki_types::ServerName::try_from(text).is_ok(),
            "it must be a host name or an IP address without a port",
        )
    }
);

checked_text!(
    /// A tenant of an authority.
    Tenant, "tenant", "a tenant", |text| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        require(
            matches!(text.len(), 1..=128) && text.bytes().all(allowed),
            "a tenant consists of 1 to 128 letters, digits, `.`, `_` and `-`",
        )
    }
);

checked_text!(
    /// The beginning of opaque tokens. A JWT begins with `ey`.
    TokenPrefix, "token-prefix", "the beginning of tokens such as `ory_at_`", |text| {
        let allowed = |b: u8| {
            b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
        };
        require(
            matches!(text.len(), 1..=64) && text.bytes().all(allowed),
            "it consists of 1 to 64 letters, digits and `-._~+/` (RFC 6750 §2.1)",
        )?;
        require(
            !text.starts_with("ey") && !"ey".starts_with(text),
            "JWTs begin with `ey`, and keys verify them: choose another beginning, or leave `prefix` \
             out",
        )
    }
);

checked_text!(
    /// A value of the `Host` header.
    HostValue, "host", "a host such as `hub.example` or `hub.example:8443`", |text| {
        require(
            text.parse::<Authority>().is_ok_and(|host| !host.as_str().contains(['@', '*', '%'])),
            "it must be a host name or an IP address, with or without a port",
        )
    }
);

checked_text!(
    /// An additional parameter of token requests. Parameters that other keys set, and those of
    /// client authentication, are reserved.
    ExtraParameter, "extra-parameter", "the name of a parameter", |text| {
        let taken = ["grant_type", "scope", "audience", "resource"].contains(&text)
            || text.starts_with("client_");
        require(!text.is_empty() && !taken, "other keys of the credential set this parameter")
    }
);

checked_text!(
    /// A rule's path pattern.
    PathPattern, "path-pattern", "a path pattern such as `/api/**`", path_pattern
);

fn path_pattern(text: &str) -> Result<(), WrongForm> {
    require(text.starts_with('/'), "a pattern must begin with `/`")?;
    require(
        text.is_ascii(),
        "write characters beyond ASCII percent-encoded",
    )?;
    let (text, captures) = pattern::unnamed(text);
    require(
        !has_variable(&text),
        "variables such as `:id`, `{id:int}` or `<id>` are not supported: use `{id}` or `*` for \
         one segment, or `**` at the end for any rest (write `%3A` for a colon at the beginning of \
         a segment)",
    )?;
    let is_repeated = |(place, (name, _)): (usize, &(String, usize))| {
        captures
            .iter()
            .skip(place + 1)
            .any(|(other, _)| other == name)
    };
    require(
        !captures.iter().enumerate().any(is_repeated),
        "two segments have the same name",
    )?;
    let text = text.as_ref();
    // The resolver checks whether the listener allows `;` and `%2F`.
    let normal = NormalPath::parse_with(text, Ordinary::ALL);
    let normal = normal.map_err(|_| {
        WrongForm("requests with such a path are refused, because servers interpret it differently")
    })?;
    require(
        normal.as_str() == text,
        "write the pattern in the normal form of RFC 3986 §6.2.2: no `.`, `..` or empty segments, \
         escapes in upper case and only if needed",
    )?;
    let mut segments = text
        .split('/')
        .skip(1)
        .filter(|segment| !segment.is_empty())
        .peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "**" => require(segments.peek().is_none(), "`**` must be the last segment")?,
            "*" => {}
            _ => require(
                !segment.contains('*'),
                "`*` matches a whole segment, not a part of one",
            )?,
        }
    }
    Ok(())
}

/// Whether a pattern contains a variable of other routers: `:id`, `{id:int}`, `<id>`.
fn has_variable(pattern: &str) -> bool {
    let is_name = |text: &str| {
        let text = text.trim_end_matches(['?', '+']);
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let mut segments = pattern.split('/');
    segments
        .any(|it| it.strip_prefix(':').is_some_and(is_name) || it.contains(['{', '}', '<', '>']))
}

checked_text!(
    /// The origin of a web page.
    WebOriginText, "web-origin", "a web origin such as `https://app.example`", |text| {
        require(
            text.parse::<WebOrigin>().is_ok(),
            "it must consist of `http://` or `https://`, a host and an optional port",
        )
    }
);

checked_text!(
    /// The name of a cookie.
    CookieName, "cookie-name", "the name of a cookie", |text| {
        require(
            text.len() <= 64 && cookies::is_name(text),
            "it must consist of 1 to 64 letters, digits and marks such as `-` and `_`",
        )
    }
);

/// An error status and the `error` of its challenge (RFC 6750 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StatusAndError {
    /// From 400 to 599.
    pub status: u16,
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
            .map_err(|_| WrongForm("the status is not a number"))?;
        require(
            (400..=599).contains(&status),
            "the status must be from 400 to 599",
        )?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        require(
            matches!(error.len(), 1..=64) && error.bytes().all(allowed),
            "the error consists of 1 to 64 letters, digits, `.`, `_` and `-`",
        )?;
        require(
            !["insufficient_scope", "invalid_request"].contains(&error),
            "a new token does not help against `insufficient_scope` or `invalid_request`",
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

#[cfg(test)]
pub(super) mod tests;
