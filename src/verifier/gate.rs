//! Request authorization: path, method and headers become a [`Permit`] or a [`Refusal`].

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::bearer::PresentedToken;
use super::rules::{InvalidRules, Rule, Rules, TwoReadings};
use super::{
    Authority, Check, CheckObserver, Config, CorsPreflight, Mode, ObserveCache, Refusal,
    TokenPolicy, TokenVerifier, VerifiedToken, preflight,
};
use crate::domain::clock::SharedClock;
use crate::domain::path::NormalPath;
use crate::domain::reason::Reason;

/// Permission to forward one request. Only [`Gate::decide`] gives one.
pub struct Permit {
    token: Option<VerifiedToken>,
    reason: Reason,
    /// Given only because the listener is in shadow mode.
    would_be_refused: bool,
    timeout: Option<Duration>,
}

impl Permit {
    fn passes(token: Option<VerifiedToken>, reason: Reason) -> Self {
        Self {
            token,
            reason,
            would_be_refused: false,
            timeout: None,
        }
    }

    /// The request's verified token; in shadow mode it may not fulfil the rule. `None` on a public
    /// path.
    #[must_use]
    pub fn token(&self) -> Option<&VerifiedToken> {
        self.token.as_ref()
    }

    /// The check that decided.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// How long to wait for each next part of the upstream's answer, if the rule limits it.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Whether a listener that enforces would have refused the request.
    #[must_use]
    pub fn would_be_refused(&self) -> bool {
        self.would_be_refused
    }
}

/// Authorizes the requests of one inbound listener.
pub struct Gate {
    tokens: TokenVerifier,
    rules: Rules,
    mode: Mode,
    cors_preflight: CorsPreflight,
}

impl Gate {
    /// A gate that trusts `authorities`.
    ///
    /// # Errors
    /// [`InvalidRules`] when the rules cannot be used.
    pub fn new(
        config: &Config,
        authorities: Vec<Arc<Authority>>,
        clock: SharedClock,
        observe_cache: ObserveCache,
    ) -> Result<Self, InvalidRules> {
        let rules = Rules::compile(&config.rules, config.path_case)?;
        let policy = TokenPolicy {
            audiences: config.audiences.clone(),
            forwarded_claims: config.forwarded_claims.clone(),
            rule_claims: rules.claims().to_vec(),
            cache_size: config.verified_token_cache,
        };
        Ok(Self {
            tokens: TokenVerifier::new(policy, authorities, clock).observed(observe_cache),
            rules,
            mode: config.mode,
            cors_preflight: config.cors_preflight,
        })
    }

    /// Whether refused requests are stopped.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Decides about one request. Only a valid token reveals that no rule matches a path: to
    /// other clients every path looks protected.
    ///
    /// # Errors
    /// [`Refusal`] names the check that refused. In shadow mode the permit carries it instead.
    pub async fn decide(
        &self,
        path: &NormalPath<'_>,
        method: &str,
        headers: &HeaderMap,
    ) -> Result<Permit, Refusal> {
        self.decide_observed(path, method, headers, &mut ()).await
    }

    /// [`Gate::decide`], with an observer of the checks.
    ///
    /// # Errors
    /// As [`Gate::decide`].
    pub async fn decide_observed(
        &self,
        path: &NormalPath<'_>,
        method: &str,
        headers: &HeaderMap,
        observer: &mut impl CheckObserver,
    ) -> Result<Permit, Refusal> {
        let rule = match self.rules.find(path, method) {
            Ok(rule) => rule,
            Err(why) => return self.ambiguous(why, headers).await,
        };
        let permit = if rule.is_some_and(Rule::is_public) {
            Permit::passes(None, Reason::Public)
        } else if self.passes_as_preflight(path, method, headers) {
            Permit::passes(None, Reason::Preflight)
        } else {
            self.authorize(rule, headers, observer).await?
        };
        Ok(Permit {
            timeout: rule.and_then(Rule::timeout),
            ..permit
        })
    }

    async fn authorize(
        &self,
        rule: Option<&Rule>,
        headers: &HeaderMap,
        observer: &mut impl CheckObserver,
    ) -> Result<Permit, Refusal> {
        let token = match self.token_of(headers, observer).await {
            Ok(token) => token,
            Err(refusal) => return self.refuse(refusal, None),
        };
        observer.checking(Check::Rule);
        let refusal = match rule {
            None => Refusal::new(Reason::NoRule),
            Some(rule) => match rule.check(&token, observer) {
                Ok(()) => return Ok(Permit::passes(Some(token), Reason::Permitted)),
                Err(reason) => Refusal {
                    needed: rule.sufficient_scopes(),
                    ..Refusal::new(reason)
                },
            },
        };
        let refusal = Refusal {
            token: Some(token.clone()),
            ..refusal
        };
        self.refuse(refusal, Some(token))
    }

    /// Refuses a path that two rules could decide about. In shadow mode it passes, with its
    /// identity if the token is valid.
    async fn ambiguous(&self, why: TwoReadings, headers: &HeaderMap) -> Result<Permit, Refusal> {
        let token = match self.mode {
            Mode::Enforce => None,
            Mode::Shadow => self.token_of(headers, &mut ()).await.ok(),
        };
        let refusal = Refusal {
            detail: Some(why.to_string().into()),
            ..Refusal::new(Reason::AmbiguousPath)
        };
        self.refuse(refusal, token)
    }

    /// In shadow mode the request passes with the reason of the refusal. Only a verified token
    /// becomes its identity, so the upstream can rely on it in either mode.
    fn refuse(&self, refusal: Refusal, token: Option<VerifiedToken>) -> Result<Permit, Refusal> {
        match self.mode {
            Mode::Enforce => Err(refusal),
            Mode::Shadow => Ok(Permit {
                would_be_refused: true,
                ..Permit::passes(token, refusal.reason)
            }),
        }
    }

    /// A preflight has no token, so it passes only if a rule matches the request that it announces.
    fn passes_as_preflight(
        &self,
        path: &NormalPath<'_>,
        method: &str,
        headers: &HeaderMap,
    ) -> bool {
        self.cors_preflight == CorsPreflight::Pass
            && preflight::announced_method(method, headers)
                .is_some_and(|announced| matches!(self.rules.find(path, announced), Ok(Some(_))))
    }

    async fn token_of(
        &self,
        headers: &HeaderMap,
        observer: &mut impl CheckObserver,
    ) -> Result<VerifiedToken, Refusal> {
        observer.checking(Check::Form);
        let presented = PresentedToken::of_request(headers).map_err(Refusal::new)?;
        let verified = self.tokens.verify_observed(presented, observer).await;
        verified.map_err(|reason| match reason {
            Reason::TokenTooLarge => {
                Refusal::too_large(presented.bytes().len(), self.tokens.size_limit(presented))
            }
            reason => Refusal::new(reason),
        })
    }
}
