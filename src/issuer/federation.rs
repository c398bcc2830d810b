//! The JWTs of a trusted authority by which a client authenticates itself.

use super::client_auth::client_keys::KeyPlace;
use crate::domain::claim_pattern::ClaimPattern;
use crate::domain::claims::Claims;
use crate::domain::clock::UnixTime;

/// The JWTs of an authority that are a client's assertions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Federation {
    /// The authority.
    pub trust: Trust,
    /// The `sub`; `None`: any. Then there is a claim.
    pub subject: Option<ClaimPattern>,
    /// The only `aud`; `None`: the issuer's URL.
    pub audience: Option<String>,
    /// Further claims by name, each with its permitted values.
    pub claims: Vec<(String, Vec<ClaimPattern>)>,
    /// From this time on it is not used.
    pub expires_at: Option<UnixTime>,
}

/// An authority of JWTs that authenticate clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// One of the configuration, by its name.
    Named(String),
    /// One that clients of the store name themselves.
    At {
        /// Its issuer, or its SPIFFE trust domain.
        issuer: String,
        /// Its keys.
        keys: KeyPlace,
    },
}

/// Why a JWT is not one of a [`Federation`]; the last check is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misfit {
    Ended,
    Authority,
    Audience,
    Subject,
    Claim,
}

impl Federation {
    /// Whether it may be used at a time.
    #[must_use]
    pub fn is_live(&self, now: UnixTime) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// Checks the claims of a verified JWT of an authority. Without an audience of its own, the JWT
    /// must be for `issuer`.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn check(
        &self,
        trust: &Trust,
        claims: &Claims,
        issuer: &str,
        now: UnixTime,
    ) -> Result<(), Misfit> {
        if !self.is_live(now) {
            return Err(Misfit::Ended);
        }
        if self.trust != *trust {
            return Err(Misfit::Authority);
        }
        // Another audience could present the JWT here.
        let audience = self.audience.as_deref().unwrap_or(issuer);
        if claims.strings("aud").ok().as_deref() != Some(&[audience]) {
            return Err(Misfit::Audience);
        }
        let subject = claims.string("sub").ok().flatten().unwrap_or_default();
        if subject.is_empty() || !self.subject.as_ref().is_none_or(|it| it.matches(subject)) {
            return Err(Misfit::Subject);
        }
        let has = |(name, values): &(String, Vec<ClaimPattern>)| {
            let value = claims.find(name);
            value.is_some_and(|value| values.iter().any(|it| it.matches_value(value)))
        };
        if self.claims.iter().all(has) {
            Ok(())
        } else {
            Err(Misfit::Claim)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://issuer.example";

    fn federation() -> Federation {
        let pattern = |text| ClaimPattern::parse(text).unwrap();
        Federation {
            trust: Trust::Named("github".to_owned()),
            subject: Some(pattern("repo:example/*")),
            audience: None,
            claims: vec![
                (
                    "ref".to_owned(),
                    vec![pattern("refs/heads/main"), pattern("refs/tags/*")],
                ),
                ("run.attempt".to_owned(), vec![pattern("1")]),
            ],
            expires_at: Some(UnixTime(100)),
        }
    }

    #[test]
    fn every_part_must_fit_and_the_audience_is_alone() {
        let good = json!({
            "aud": ISSUER, "sub": "repo:example/app:ref:refs/heads/main", "ref": "refs/heads/main",
            "run": { "attempt": 1 },
        });
        let check = |authority: &str, change: &[(&str, serde_json::Value)], now: i64| {
            let mut claims = good.as_object().unwrap().clone();
            claims.extend(
                change
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), value.clone())),
            );
            let trust = Trust::Named(authority.to_owned());
            federation().check(&trust, &claims.into(), ISSUER, UnixTime(now))
        };
        assert_eq!(check("github", &[], 99), Ok(()));
        assert_eq!(check("github", &[("aud", json!([ISSUER]))], 0), Ok(()));
        assert_eq!(
            check("github", &[("ref", json!("refs/tags/v1"))], 0),
            Ok(())
        );
        assert_eq!(check("github", &[], 100), Err(Misfit::Ended));
        assert_eq!(check("gitlab", &[], 0), Err(Misfit::Authority));
        for (name, value, misfit) in [
            ("aud", json!("https://other.example"), Misfit::Audience),
            (
                "aud",
                json!([ISSUER, "https://other.example"]),
                Misfit::Audience,
            ),
            ("aud", json!([]), Misfit::Audience),
            ("aud", json!(null), Misfit::Audience),
            ("sub", json!("repo:example-evil/app"), Misfit::Subject),
            ("sub", json!(["repo:example/app"]), Misfit::Subject),
            ("sub", json!(null), Misfit::Subject),
            ("sub", json!(""), Misfit::Subject),
            ("ref", json!("refs/heads/mainline"), Misfit::Claim),
            ("ref", json!(null), Misfit::Claim),
            ("run", json!({ "attempt": 2 }), Misfit::Claim),
        ] {
            let found = check("github", &[(name, value.clone())], 0);
            assert_eq!(found, Err(misfit), "{name} {value}");
        }
    }
}
