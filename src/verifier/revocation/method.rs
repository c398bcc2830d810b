//! The method by which revocations are found out, from the configuration and from the metadata.

use std::fmt;

use url::Url;

use super::{OnFailure, RevocationConfig, RevocationKind};
use crate::domain::duration::written;
use crate::verifier::KeySource;

/// Why revocations are not checked.
pub(super) const CONFIGURED: &str = "the configuration says so";
pub(super) const NOT_NAMED: &str =
    "the issuer's metadata names neither `revocation_list_uri` nor `plgd_tokens_endpoint`";
const NOT_READ: &str = "`jwksUri` or `jwksFile` names the keys, so the issuer's metadata is not \
    read; set `revocation: { kind: …, endpoint: … }` to have revocations checked";

impl RevocationConfig {
    /// The method, if it follows from the configuration alone; `None` if the metadata names it.
    pub(in crate::verifier) fn fixed_method(&self, keys: &KeySource) -> Option<Method> {
        use RevocationKind as Kind;
        Some(match (self.kind, keys, self.endpoint.clone()) {
            (Kind::None, ..) => Method::None(CONFIGURED),
            (_, KeySource::OwnIssuer, _) => Method::Own,
            (Kind::List, _, Some(url)) => Method::List(url),
            (Kind::Plgd, _, Some(url)) => Method::Plgd(url),
            (Kind::Introspection, _, Some(url)) => Method::Introspection(url),
            (Kind::Auto, KeySource::Url(_) | KeySource::File(_), _) => Method::None(NOT_READ),
            _ => return None,
        })
    }

    /// Whether revocations are not checked although the configuration does not say `none`.
    #[must_use]
    pub fn is_none_unasked(&self, keys: &KeySource) -> bool {
        self.fixed_method(keys) == Some(Method::None(NOT_READ))
    }

    /// The method, the age limits and the consequence of a missing state, for people. `keys` says
    /// how the issuer's keys are found.
    #[must_use]
    pub fn described(&self, keys: &KeySource) -> String {
        let method = match (self.fixed_method(keys), self.kind) {
            (Some(method @ (Method::None(_) | Method::Own)), _) => return method.to_string(),
            (Some(method), _) => method.to_string(),
            (None, RevocationKind::Auto) => "auto (what the issuer's metadata names: \
                `revocation_list_uri` or `plgd_tokens_endpoint`; else none)"
                .to_owned(),
            (None, kind) => format!("{} (where the issuer's metadata says)", word(kind)),
        };
        let then = match self.on_failure {
            OnFailure::Refuse => "requests are refused with 503",
            OnFailure::Accept => "requests pass",
        };
        let max_age = written(self.max_age);
        let max_stale = written(self.max_stale.max(self.max_age));
        format!(
            "{method}; at most {max_age} old, at most {max_stale} while the issuer does not \
             answer, after that {then}"
        )
    }
}

/// The word of the configuration.
fn word(kind: RevocationKind) -> &'static str {
    match kind {
        RevocationKind::Auto => "auto",
        RevocationKind::None => "none",
        RevocationKind::List => "list",
        RevocationKind::Plgd => "plgd",
        RevocationKind::Introspection => "introspection",
    }
}

/// The method by which revocations are found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Revocations are not checked, for this reason.
    None(&'static str),
    /// Our own issuer reports revocations in process.
    Own,
    /// The issuer's signed list at this URL.
    List(Url),
    /// plgd's tokens endpoint at this URL, once per token.
    Plgd(Url),
    /// Introspection at this URL, once per token.
    Introspection(Url),
    /// The issuer's metadata is not read yet.
    NotReadYet,
    /// The issuer's metadata names no usable endpoint.
    Unusable,
}

impl Method {
    /// One word, for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::None(_) => "none",
            Self::Own => "own",
            Self::List(_) => "list",
            Self::Plgd(_) => "plgd",
            Self::Introspection(_) => "introspection",
            Self::NotReadYet | Self::Unusable => "unknown",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None(why) => write!(f, "none ({why})"),
            Self::Own => f.write_str("the sidecar's own issuer, in process"),
            Self::List(url) => write!(f, "list at {}", Shown(url)),
            Self::Plgd(url) => write!(
                f,
                "plgd's tokens endpoint at {}, once per token",
                Shown(url)
            ),
            Self::Introspection(url) => {
                write!(f, "introspection at {}, once per token", Shown(url))
            }
            Self::NotReadYet => f.write_str("not known yet (the issuer's metadata is not read)"),
            Self::Unusable => {
                f.write_str("unknown (the issuer's metadata names no usable endpoint)")
            }
        }
    }
}

/// A URL without possible secrets: user, password and query. It is cut, as an issuer chooses its
/// length.
struct Shown<'u>(&'u Url);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path: String = self.0.path().chars().take(128).collect();
        write!(f, "{}{path}", self.0.origin().ascii_serialization())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_configuration_is_described() {
        let url = |text: &str| Url::parse(text).unwrap();
        let (named, file) = (
            KeySource::Url(url("https://a/k")),
            KeySource::File(PathBuf::from("k.json")),
        );
        let of = |kind, endpoint: Option<&str>| RevocationConfig {
            kind,
            endpoint: endpoint.map(url),
            ..RevocationConfig::default()
        };
        let auto = of(RevocationKind::Auto, None);
        for (config, keys, said) in [
            (
                &auto,
                &KeySource::Discovery,
                "auto (what the issuer's metadata names",
            ),
            (
                &auto,
                &KeySource::OwnIssuer,
                "the sidecar's own issuer, in process",
            ),
            (
                &auto,
                &named,
                "none (`jwksUri` or `jwksFile` names the keys",
            ),
            (&auto, &file, "none (`jwksUri` or `jwksFile` names the keys"),
            (
                &of(RevocationKind::None, None),
                &named,
                "none (the configuration says so)",
            ),
            (
                &of(RevocationKind::List, None),
                &KeySource::Discovery,
                "list (where the issuer's metadata says)",
            ),
            (
                &of(RevocationKind::List, Some("https://u:p@a/list?key=secret")),
                &named,
                "list at https://a/list; at most 30s old, at most 15m while the issuer does not \
                 answer, after that requests are refused with 503",
            ),
        ] {
            let described = config.described(keys);
            assert!(described.starts_with(said), "{described}");
            assert_eq!(
                config.is_none_unasked(keys),
                described.contains("names the keys"),
                "{described}"
            );
        }
    }
}
