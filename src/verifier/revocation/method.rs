//! Which way revocations are found out: what the configuration alone says of it, and what is known
//! when it runs.

use std::fmt;

use url::Url;

use super::{OnFailure, RevocationConfig, RevocationKind};
use crate::domain::duration::written;
use crate::verifier::KeySource;

/// Why nobody is asked.
pub(super) const CONFIGURED: &str = "the configuration says so";
pub(super) const NOT_NAMED: &str =
    "the issuer's metadata names neither `revocation_list_uri` nor `plgd_tokens_endpoint`";
const NOT_READ: &str = "`jwksUri` or `jwksFile` names the keys, so the issuer's metadata is not read; set \
                        `revocation: { kind: …, endpoint: … }` to have revocations checked";

/// What the configuration alone says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Planned {
    Nobody(&'static str),
    Own,
    List(Url),
    Plgd(Url),
    Introspection(Url),
    /// What the issuer's metadata names.
    Metadata(RevocationKind),
}

impl RevocationConfig {
    pub(super) fn planned(&self, keys: &KeySource) -> Planned {
        use RevocationKind as Kind;
        match (self.kind, keys, self.endpoint.clone()) {
            (Kind::None, ..) => Planned::Nobody(CONFIGURED),
            (_, KeySource::OwnIssuer, _) => Planned::Own,
            (Kind::List, _, Some(url)) => Planned::List(url),
            (Kind::Plgd, _, Some(url)) => Planned::Plgd(url),
            (Kind::Introspection, _, Some(url)) => Planned::Introspection(url),
            (Kind::Auto, KeySource::Url(_) | KeySource::File(_), _) => Planned::Nobody(NOT_READ),
            (kind, ..) => Planned::Metadata(kind),
        }
    }

    /// Whether nobody will be asked although the configuration does not say `none`.
    #[must_use]
    pub fn is_none_unasked(&self, keys: &KeySource) -> bool {
        self.planned(keys) == Planned::Nobody(NOT_READ)
    }

    /// How it will be found out whether a token is revoked, how old an answer may be and what
    /// happens without one: for people. `keys` is how the issuer's keys are found.
    #[must_use]
    pub fn described(&self, keys: &KeySource) -> String {
        let method = match self.planned(keys) {
            Planned::Nobody(why) => return Method::None(why).to_string(),
            Planned::Own => return Method::Own.to_string(),
            Planned::List(url) => Method::List(url).to_string(),
            Planned::Plgd(url) => Method::Plgd(url).to_string(),
            Planned::Introspection(url) => Method::Introspection(url).to_string(),
            Planned::Metadata(RevocationKind::Auto) => {
                "auto (what the issuer's metadata names: `revocation_list_uri` or `plgd_tokens_endpoint`; else none)"
                    .to_owned()
            }
            Planned::Metadata(kind) => format!("{} (where the issuer's metadata says)", kind.word()),
        };
        let then = match self.on_failure {
            OnFailure::Refuse => "requests are refused with 503",
            OnFailure::Accept => "requests pass",
        };
        let (max_age, max_stale) = (
            written(self.max_age),
            written(self.max_stale.max(self.max_age)),
        );
        format!(
            "{method}; at most {max_age} old, at most {max_stale} while the issuer does not answer, after that {then}"
        )
    }
}

impl RevocationKind {
    /// The word of the configuration.
    fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::List => "list",
            Self::Plgd => "plgd",
            Self::Introspection => "introspection",
        }
    }
}

/// How it is found out whether a token is revoked, as it is known at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Nobody is asked, for this reason.
    None(&'static str),
    /// Our own issuer says so in process.
    Own,
    /// The issuer's signed list at this URL.
    List(Url),
    /// plgd's tokens endpoint at this URL, once per token.
    Plgd(Url),
    /// Introspection at this URL, once per token.
    Introspection(Url),
    /// The issuer's metadata was not read yet.
    NotReadYet,
    /// The issuer's metadata names no usable place.
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
            Self::NotReadYet => f.write_str("not known yet (the issuer's metadata was not read)"),
            Self::Unusable => f.write_str(
                "unknown (the issuer's metadata names no place, or no usable one, to ask)",
            ),
        }
    }
}

/// A URL without what may be a secret: user, password and query. An issuer chooses its length.
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
    fn what_a_configuration_means_is_said() {
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
                "list at https://a/list; at most 30s old, at most 15m while the issuer does not answer, after that \
                 requests are refused with 503",
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
