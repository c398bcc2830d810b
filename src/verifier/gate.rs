//! Request authorization: path, method and headers become a [`Permit`] or a [`Refusal`].

use std::sync::Arc;
use std::time::Duration;

use http::header::ORIGIN;
use http::{HeaderMap, HeaderValue};

use super::bearer::FoundToken;
use super::binding::Holders;
use super::rules::{InvalidRules, Rule, Rules, TwoReadings};
use super::{
    Authority, Check, CheckObserver, Config, CorsPreflight, Mode, ObserveCache, Refusal, Request,
    TokenFacts, TokenLocations, TokenPolicy, TokenVerifier, VerifiedToken, WatchedToken, preflight,
};
use crate::domain::clock::SharedClock;
use crate::domain::reason::Reason;
use crate::domain::web_origin::WebOrigin;
use crate::domain::websocket;
use crate::jose::dpop::ServerState;

/// Permission to forward one request. Only [`Gate::decide`] gives one.
pub struct Permit {
    token: Option<VerifiedToken>,
    reason: Reason,
    /// Given only because of shadow mode.
    would_be_refused: bool,
    /// The mode of the rule that decided, or of the listener.
    mode: Mode,
    rule: Option<usize>,
    timeout: Option<Duration>,
    /// The nonce for the client's next proof, if that of this one ends soon.
    nonce: Option<String>,
}

impl Permit {
    fn passes(token: Option<VerifiedToken>, reason: Reason) -> Self {
        Self {
            token,
            reason,
            would_be_refused: false,
            mode: Mode::Enforce,
            rule: None,
            timeout: None,
            nonce: None,
        }
    }

    /// The request's verified token; in shadow mode it may not fulfil the rule. `None` on a public
    /// path.
    #[must_use]
    pub fn token(&self) -> Option<&VerifiedToken> {
        self.token.as_ref()
    }

    /// Whether the request needs a token, or carried one that was verified.
    #[must_use]
    pub fn needs_token(&self) -> bool {
        use Reason::{Anonymous, Preflight, Public};
        !matches!(self.reason, Public | Preflight | Anonymous)
    }

    /// The check that decided.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The place of the rule that decided. `None` when no rule matches, which passes in shadow
    /// mode.
    #[must_use]
    pub fn rule(&self) -> Option<usize> {
        self.rule
    }

    /// How long to wait for each next part of the upstream's answer, if the rule limits it.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The nonce for the client's next proof, if it needs a new one (RFC 9449 §8.2).
    #[must_use]
    pub fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }

    /// Whether requests that fail a later check are stopped.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
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
    locations: TokenLocations,
    rules: Rules,
    mode: Mode,
    cors_preflight: CorsPreflight,
    /// The web origins whose pages may open WebSockets; `None`: all.
    allowed_origins: Option<Vec<WebOrigin>>,
    holders: Holders,
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
            introspects: true,
        };
        Ok(Self {
            tokens: TokenVerifier::new(policy, authorities, clock).observed(observe_cache),
            rules,
            mode: config.mode,
            cors_preflight: config.cors_preflight,
            locations: config.token_locations.clone(),
            allowed_origins: config.allowed_origins.clone(),
            holders: Holders::new(config.dpop.clone()),
        })
    }

    /// Shares the memory of used proofs with the other servers of the process.
    #[must_use]
    pub fn sharing(mut self, proofs: Arc<ServerState>) -> Self {
        self.holders.share(proofs);
        self
    }

    /// Where the token of a request is.
    #[must_use]
    pub fn locations(&self) -> &TokenLocations {
        &self.locations
    }

    /// The authority that is asked about a token, because the token is opaque.
    #[must_use]
    pub fn introspecting(&self, token: &str) -> Option<Arc<Authority>> {
        let asked = self.tokens.introspecting(token)?;
        Some(asked.authority.clone())
    }

    /// Whether refused requests are stopped, unless their rule says otherwise.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The nonce for the proofs of clients, if they need one.
    #[must_use]
    pub fn nonce(&self) -> Option<String> {
        self.holders.nonce(self.tokens.clock.now())
    }

    /// Watches the token of a request's stream, which [`Gate::decide`] has verified.
    #[must_use]
    pub fn watch(&self, token: VerifiedToken, headers: &HeaderMap) -> WatchedToken<'_> {
        let place = self.locations.place_in(headers);
        let text = || self.locations.token_at(place?, headers);
        WatchedToken::new(&self.tokens, token, text)
    }

    /// Decides about one request. Only a valid token reveals that no rule matches a path: to
    /// other clients every path looks protected.
    ///
    /// # Errors
    /// [`Refusal`] names the check that refused. In shadow mode the permit carries it instead.
    pub async fn decide(&self, request: &Request<'_>) -> Result<Permit, Refusal> {
        self.decide_observed(request, &mut ()).await
    }

    /// [`Gate::decide`], with an observer of the checks.
    ///
    /// # Errors
    /// As [`Gate::decide`].
    pub async fn decide_observed(
        &self,
        request: &Request<'_>,
        observer: &mut impl CheckObserver,
    ) -> Result<Permit, Refusal> {
        let rule = match self.rules.find(request) {
            Ok(rule) => rule,
            Err(why) => return self.ambiguous(why, request).await,
        };
        let mode = rule.and_then(Rule::mode).unwrap_or(self.mode);
        let announced = self.announced_by_preflight(request);
        let is_public = request.scopes.is_none() && rule.is_some_and(Rule::is_public);
        let (rule, permit) = if is_public {
            (rule, Permit::passes(None, Reason::Public))
        } else if announced.is_some() {
            (announced, Permit::passes(None, Reason::Preflight))
        } else {
            let permit = self.authorize(rule, mode, request, observer).await?;
            (rule, permit)
        };
        let permit = Permit {
            mode,
            rule: rule.map(Rule::position),
            timeout: rule.and_then(Rule::timeout),
            ..permit
        };
        self.check_origin(permit, request)
    }

    /// Refuses a WebSocket of a page that may not open one (RFC 6455 §10.2): browsers send cookies
    /// with it whatever page asks. A program sends no `Origin`.
    fn check_origin(&self, permit: Permit, request: &Request<'_>) -> Result<Permit, Refusal> {
        let Some(allowed) = &self.allowed_origins else {
            return Ok(permit);
        };
        let is_allowed = |origin: &HeaderValue| {
            let origin = origin.to_str().ok().and_then(|it| it.parse().ok());
            origin.is_some_and(|origin| allowed.contains(&origin))
        };
        let mut origins = request.headers.get_all(ORIGIN).iter();
        let is_refused = permit.would_be_refused;
        if is_refused || !websocket::asks(request.headers) || origins.all(is_allowed) {
            return Ok(permit);
        }
        let refusal = Refusal {
            token: permit.token.clone(),
            ..Refusal::new(Reason::CrossSite)
        };
        let (timeout, rule) = (permit.timeout, permit.rule);
        let permit = refuse(permit.mode, refusal, permit.token)?;
        Ok(Permit {
            timeout,
            rule,
            ..permit
        })
    }

    async fn authorize(
        &self,
        rule: Option<&Rule>,
        mode: Mode,
        request: &Request<'_>,
        observer: &mut impl CheckObserver,
    ) -> Result<Permit, Refusal> {
        let (token, nonce) = match self.token_of(request, observer).await {
            Ok(verified) => verified,
            Err(refusal)
                if refusal.reason == Reason::NoToken && passes_anonymously(rule, request) =>
            {
                return Ok(Permit::passes(None, Reason::Anonymous));
            }
            Err(refusal) => return refuse(mode, refusal, None),
        };
        observer.checking(Check::Rule);
        let refusal = match rule {
            None => Refusal::new(Reason::NoRule),
            Some(rule) => {
                let authority = self.tokens.authority_name(&token);
                let checked = rule.check(request, (&token, authority), observer);
                match checked.and_then(|()| check_scopes(request, rule, &token, observer)) {
                    Ok(()) => {
                        let permit = Permit::passes(Some(token), Reason::Permitted);
                        return Ok(Permit { nonce, ..permit });
                    }
                    Err(refusal) => refusal,
                }
            }
        };
        let refusal = Refusal {
            token: Some(token.clone()),
            ..refusal
        };
        refuse(mode, refusal, Some(token))
    }

    /// Refuses a path that two rules could decide about. If no rule refuses requests, it passes,
    /// with its identity if the token is valid.
    async fn ambiguous(&self, why: TwoReadings, request: &Request<'_>) -> Result<Permit, Refusal> {
        let mode = if self.rules.are_in_shadow(self.mode) {
            Mode::Shadow
        } else {
            Mode::Enforce
        };
        let token = match mode {
            Mode::Enforce => None,
            Mode::Shadow => self.token_of(request, &mut ()).await.ok().map(|(it, _)| it),
        };
        let refusal = Refusal {
            detail: Some(why.to_string().into()),
            ..Refusal::new(Reason::AmbiguousPath)
        };
        refuse(mode, refusal, token)
    }

    /// The rule of the request that a preflight announces. A preflight has no token, so it passes
    /// only if there is one.
    fn announced_by_preflight(&self, request: &Request<'_>) -> Option<&Rule> {
        if self.cors_preflight != CorsPreflight::Pass {
            return None;
        }
        let method = preflight::announced_method(request.method, request.headers)?;
        let announced = Request { method, ..*request };
        self.rules.find(&announced).ok().flatten()
    }

    /// The verified token of a request, and the nonce for the client's next proof.
    async fn token_of(
        &self,
        request: &Request<'_>,
        observer: &mut impl CheckObserver,
    ) -> Result<(VerifiedToken, Option<String>), Refusal> {
        observer.checking(Check::Form);
        let found = FoundToken::of_request(request.headers, &self.locations);
        let (found, scheme) = found.map_err(Refusal::new)?;
        let presented = found.token();
        let authenticated = self.tokens.authenticate(presented, observer).await;
        let (token, now) = authenticated.map_err(|reason| match reason {
            Reason::TokenTooLarge => {
                Refusal::too_large(presented.bytes().len(), self.tokens.size_limit(presented))
            }
            reason => Refusal::new(reason),
        })?;
        let nonce = if self.holders.concern(&token, scheme) {
            observer.checking(Check::Binding);
            let bearer = presented.checked().map_err(Refusal::new)?;
            let checked = self.holders.check(request, (&token, &bearer), scheme, now);
            // In a box: the future is large, and every request would move it.
            Box::pin(checked).await?
        } else {
            None
        };
        let checked = self
            .tokens
            .check_not_revoked(&token, presented, now, observer);
        checked.await.map_err(Refusal::new)?;
        Ok((token, nonce))
    }
}

fn passes_anonymously(rule: Option<&Rule>, request: &Request<'_>) -> bool {
    request.scopes.is_none() && rule.is_some_and(Rule::is_optional)
}

/// Checks the scopes that the request needs beside those of its rule.
fn check_scopes(
    request: &Request<'_>,
    rule: &Rule,
    token: &TokenFacts,
    observer: &mut impl CheckObserver,
) -> Result<(), Refusal> {
    let Some(needed) = request.scopes else {
        return Ok(());
    };
    observer.checking(Check::Scopes);
    if token.has_scopes(needed) {
        return Ok(());
    }
    Err(Refusal {
        needed: Some(rule.sufficient_scopes().unwrap_or_default().with(needed)),
        ..Refusal::new(Reason::Scope)
    })
}

/// In shadow mode the request passes with the reason of the refusal. Only a verified token becomes
/// its identity, so the upstream can rely on it in either mode.
fn refuse(mode: Mode, refusal: Refusal, token: Option<VerifiedToken>) -> Result<Permit, Refusal> {
    match mode {
        Mode::Enforce => Err(refusal),
        Mode::Shadow => Ok(Permit {
            would_be_refused: true,
            mode,
            ..Permit::passes(token, refusal.reason)
        }),
    }
}
