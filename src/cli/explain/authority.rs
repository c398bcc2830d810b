//! The authority of a token, and what it says about the token.

use super::Checks;
use crate::verifier::AuthorityConfig;

impl Checks<'_> {
    pub(super) fn introspection(&self) -> String {
        let Some(asked) = &self.evaluation.introspection else {
            return String::new();
        };
        let error = asked
            .error
            .as_ref()
            .map_or(String::new(), |why| format!("; {why}"));
        format!(
            "the token is opaque; asked `{}` at {}{error}",
            asked.authority, asked.endpoint
        )
    }

    /// The type of the token; for an opaque one as its authority names it.
    pub(super) fn kind(&self) -> String {
        if self.evaluation.introspection.is_none() {
            return self.shown.header_text("typ");
        }
        let named = ["token_use", "typ", "token_type"];
        let named = named.iter().filter_map(|name| {
            let text = self.shown.text(name)?;
            Some(format!("{name} {}", text.escape_debug()))
        });
        let named = named.collect::<Vec<_>>().join(", ");
        if named.is_empty() {
            "not named".to_owned()
        } else {
            named
        }
    }

    pub(super) fn authority(&self) -> Option<&AuthorityConfig> {
        let mut known = self.asked.config.authorities.iter();
        if let Some(asked) = &self.evaluation.introspection {
            return known.find(|authority| authority.name == asked.authority);
        }
        let trusted = &self.asked.listener.verifier.authorities;
        let issuer = self.shown.text("iss")?;
        known.find(|authority| trusted.contains(&authority.name) && authority.is_issuer(issuer))
    }

    pub(super) fn issuer(&self) -> String {
        match self.authority() {
            Some(authority) if self.evaluation.introspection.is_some() => {
                let iss = self.shown.text("iss").unwrap_or("none").escape_debug();
                format!(
                    "the answer names {iss}; the authority's is {}",
                    authority.issuer
                )
            }
            Some(authority) => format!("`iss` is that of the authority `{}`", authority.name),
            None => {
                let trusted = &self.asked.listener.verifier.authorities;
                let iss = self.shown.text("iss").unwrap_or_default();
                let mut known = self.asked.config.authorities.iter();
                let nearly = known.find(|authority| {
                    trusted.contains(&authority.name) && authority.issuer_name().is_nearly(iss)
                });
                let nearly = nearly.map_or(String::new(), |authority| {
                    format!(
                        "; it differs from `{}`, the issuer of `{}`, by slashes only, which count \
                         unless the authority has \
                         `profile: plgd`",
                        authority.issuer, authority.name
                    )
                });
                format!("known are the authorities {}{nearly}", trusted.join(", "))
            }
        }
    }
}
