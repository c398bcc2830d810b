//! One token request (RFC 6749 §4.4): discovery, authentication, the answer.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderValue;
use http::header::AUTHORIZATION;
use tokio::time::Instant;

use super::access_token::{Grant, Moment};
use super::answer::{self, Deviation, TokenKind, unverified_expiry};
use super::assertion;
use super::authentication::{Authentication, Material, Proof, read_assertion};
use super::error::{Failure, FetchError};
use super::form::form;
use super::metadata::{self, Found, accept_json};
use super::proofs::{Nonce, ProofKey};
use super::skew::Skew;
use super::{Config, TokenEndpoint, login, token_file};
use crate::domain::clock::SharedClock;
use crate::domain::oauth::{ErrorCode, basic_authorization};
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::files::blocking;
use crate::http_client::HttpAnswer;
use crate::jose::dpop::{DPOP, NewProof};

/// Requests tokens of one authority, and caches its token endpoint.
pub(super) struct TokenClient<'a> {
    config: &'a Config,
    clock: &'a SharedClock,
    skew: &'a Skew,
    material: ArcSwap<Material>,
    discovered: ArcSwapOption<Found>,
    /// The key of the tokens, with DPoP, and the authority's nonce.
    proof_key: Option<Arc<ProofKey>>,
    nonce: Nonce,
    /// The deviations that were logged.
    logged: Mutex<Vec<Deviation>>,
}

/// A token request, and its answer.
struct Asked {
    requested: Moment,
    basic: Option<HeaderValue>,
    assertion: Option<SecretString>,
    answer: HttpAnswer,
}

/// How many deviations are logged at most.
const MOST_LOGGED: usize = 16;

impl<'a> TokenClient<'a> {
    pub fn new(
        config: &'a Config,
        clock: &'a SharedClock,
        skew: &'a Skew,
        material: Material,
    ) -> Self {
        let (material, discovered) = (ArcSwap::from_pointee(material), ArcSwapOption::empty());
        Self {
            config,
            clock,
            skew,
            material,
            discovered,
            proof_key: None,
            nonce: Nonce::default(),
            logged: Mutex::default(),
        }
    }

    /// Binds the tokens to this key.
    pub fn proving(self, proof_key: Option<Arc<ProofKey>>) -> Self {
        Self { proof_key, ..self }
    }

    /// Logs each deviation once.
    fn log_deviations(&self, deviations: Vec<Deviation>) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = |deviation: &Deviation| !logged.contains(deviation);
        let new: Vec<Deviation> = deviations
            .into_iter()
            .filter(is_new)
            .take(MOST_LOGGED - logged.len())
            .collect();
        if new.is_empty() {
            return;
        }
        let deviation = new
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        let credential = &self.config.name;
        tracing::warn!(
            credential,
            deviation,
            "the token answer deviates from RFC 6749; its token is used"
        );
        logged.extend(new);
    }

    /// Uses other secrets, keys or certificates.
    pub fn use_material(&self, material: Arc<Material>) {
        self.material.store(material);
    }

    /// The secrets, keys and certificates in use.
    pub fn into_material(self) -> Arc<Material> {
        self.material.into_inner()
    }

    /// The identity in use.
    pub fn identity(&self) -> [u8; 32] {
        self.material.load().identity
    }

    /// One token request, after discovery if the endpoint is not known.
    pub async fn fetch(&self) -> Result<Grant, Failure> {
        let material = self.material.load_full();
        if let TokenEndpoint::File(file) = &self.config.endpoint {
            return token_file::read(file, self.clock, material.identity).await;
        }
        if let (TokenEndpoint::Login(login), Proof::Login(contents)) =
            (&self.config.endpoint, &material.proof)
        {
            let (http, clock, skew) = (&material.http, self.clock, self.skew);
            let request = login::Request {
                login,
                contents,
                http,
                clock,
                skew,
            };
            return request.fetch(material.identity).await;
        }
        // Kept only if the endpoint answers as a token endpoint: otherwise it may have moved. A
        // cancelled request drops it too.
        let known = self.discovered.swap(None);
        self.fetch_by(known, None).await
    }

    /// One exchange of a caller's token. Several may be under way.
    pub async fn exchange(&self, subject: &SecretString) -> Result<Grant, Failure> {
        self.fetch_by(self.discovered.load_full(), Some(subject))
            .await
    }

    async fn fetch_by(
        &self,
        known: Option<Arc<Found>>,
        subject: Option<&SecretString>,
    ) -> Result<Grant, Failure> {
        let material = self.material.load_full();
        let found = self.endpoint(&material, known).await?;
        let fetched = self.fetch_from(&material, &found, subject).await;
        let is_lost = |failure: &Failure| !matches!(failure.error, FetchError::Refused { .. });
        let is_lost = fetched.as_ref().is_err_and(is_lost);
        self.discovered.store((!is_lost).then_some(found));
        fetched
    }

    async fn fetch_from(
        &self,
        material: &Material,
        found: &Found,
        subject: Option<&SecretString>,
    ) -> Result<Grant, Failure> {
        let mut asked = self.ask(material, found, subject).await?;
        if self.demands_nonce(&asked.answer) {
            asked = self.ask(material, found, subject).await?;
        }
        let Asked {
            requested,
            basic,
            assertion,
            answer,
        } = asked;
        self.skew
            .note(answer.clock_skew(requested.wall, self.clock.now()));
        let (at, kind) = (self.skew.theirs(requested.wall), self.token_kind());
        let answer::TokenAnswer {
            token,
            lifetime,
            deviations,
        } = answer::parse(&answer, at, kind).map_err(|failure| {
            let mut sent = self.sent(&material.proof, basic.as_ref(), assertion.as_ref());
            sent.extend(subject.cloned());
            let sent: Vec<&str> = sent.iter().map(|secret| secret.expose_secret()).collect();
            failure.answered(&found.token_endpoint, &answer, &sent)
        })?;
        self.log_deviations(deviations);
        Ok(Grant {
            token,
            lifetime,
            requested,
            identity: material.identity,
        })
    }

    fn token_kind(&self) -> TokenKind {
        match self.config.dpop {
            Some(_) => TokenKind::Dpop,
            None => TokenKind::Bearer,
        }
    }

    /// Whether an answer refuses a proof without the nonce that it gives (RFC 9449 §8).
    fn demands_nonce(&self, answer: &HttpAnswer) -> bool {
        let has_nonce = self.proof_key.is_some() && self.nonce.note(&answer.headers);
        has_nonce && answer::is_error(answer, ErrorCode::UseDpopNonce)
    }

    /// One request with a new assertion and a new proof.
    async fn ask(
        &self,
        material: &Material,
        found: &Found,
        subject: Option<&SecretString>,
    ) -> Result<Asked, Failure> {
        let requested = Moment {
            monotonic: Instant::now(),
            wall: self.clock.now(),
        };
        let assertion = self.assertion(&material.proof, found).await?;
        let basic = self.basic(&material.proof)?;
        let answer = self
            .request(
                material,
                found,
                basic.as_ref(),
                (assertion.as_ref(), subject),
            )
            .await?;
        Ok(Asked {
            requested,
            basic,
            assertion,
            answer,
        })
    }

    /// The header `DPoP` of a token request.
    fn proof(&self, found: &Found) -> Result<Option<HeaderValue>, FetchError> {
        if self.config.dpop.is_none() {
            return Ok(None);
        }
        let nonce = self.nonce.get();
        let proof = self.proof_key.as_ref().and_then(|key| {
            key.prove(&NewProof {
                method: "POST",
                url: found.token_endpoint.as_str(),
                token: None,
                nonce: nonce.as_ref().map(|nonce| nonce.as_str()),
                now: self.skew.theirs(self.clock.now()),
            })
        });
        proof.map(Some).ok_or(FetchError::Request)
    }

    async fn request(
        &self,
        material: &Material,
        found: &Found,
        basic: Option<&HeaderValue>,
        (assertion, subject): (Option<&SecretString>, Option<&SecretString>),
    ) -> Result<HttpAnswer, Failure> {
        let mut headers = accept_json();
        if let Some(basic) = basic {
            headers.insert(AUTHORIZATION, basic.clone());
        }
        if let Some(proof) = self.proof(found)? {
            headers.insert(DPOP, proof);
        }
        let (scope, audiences) = (
            self.config.scopes.to_string(),
            self.config.audiences.join(" "),
        );
        let form = form(
            self.config,
            &material.proof,
            assertion,
            subject,
            (&scope, &audiences),
        );
        let answer = material
            .http
            .post_form(&found.token_endpoint, headers, &form)
            .await;
        answer.map_err(|failed| Failure::unanswered(FetchError::Http, &failed))
    }

    /// The `Authorization` header of `client_secret_basic`.
    fn basic(&self, proof: &Proof) -> Result<Option<HeaderValue>, FetchError> {
        let Proof::Basic(secret, encoding) = proof else {
            return Ok(None);
        };
        basic_authorization(&self.config.client_id, secret, *encoding)
            .map(Some)
            .ok_or(FetchError::Request)
    }

    /// The secrets of a request that are removed from error messages: the secret in every encoding,
    /// the assertion, and the values of further parameters.
    fn sent(
        &self,
        proof: &Proof,
        basic: Option<&HeaderValue>,
        assertion: Option<&SecretString>,
    ) -> Vec<SecretString> {
        let mut sent: Vec<SecretString> = assertion.cloned().into_iter().collect();
        if let Proof::Basic(secret, _) | Proof::Post(secret) = proof {
            let encoded = form_urlencoded::byte_serialize(secret.expose_secret().as_bytes());
            sent.extend([
                secret.clone(),
                SecretString::from(encoded.collect::<String>()),
            ]);
        }
        let basic = basic
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Basic "));
        sent.extend(basic.map(SecretString::from));
        sent.extend(
            self.config
                .extra_parameters
                .iter()
                .map(|(_, value)| SecretString::from(value.as_str())),
        );
        sent
    }

    async fn assertion(
        &self,
        proof: &Proof,
        found: &Found,
    ) -> Result<Option<SecretString>, FetchError> {
        match (proof, &self.config.authentication) {
            (Proof::Key(key), Authentication::PrivateKeyJwt(of)) => {
                let audience = of.audience.as_deref().unwrap_or(&found.issuer);
                let now = self.skew.theirs(self.clock.now());
                let signed = assertion::sign(
                    key,
                    of.kid.as_deref(),
                    &self.config.client_id,
                    audience,
                    now,
                );
                signed.map(Some).map_err(|_| FetchError::Request)
            }
            (Proof::Assertion(file), _) => {
                let file = file.clone();
                let read = blocking(move || read_assertion(&file)).await;
                let assertion = read.map_err(|_| FetchError::Files)?;
                let now = self.skew.theirs(self.clock.now());
                let end = unverified_expiry(assertion.expose_secret());
                if end.is_some_and(|end| end <= now) {
                    return Err(FetchError::AssertionExpired);
                }
                Ok(Some(assertion))
            }
            _ => Ok(None),
        }
    }

    async fn endpoint(
        &self,
        material: &Material,
        known: Option<Arc<Found>>,
    ) -> Result<Arc<Found>, Failure> {
        let authority = match &self.config.endpoint {
            // The issuer is unknown; RFC 7523 §3 also allows the endpoint as audience.
            TokenEndpoint::Url(url) => {
                return Ok(Arc::new(Found {
                    token_endpoint: url.clone(),
                    issuer: url.to_string(),
                }));
            }
            TokenEndpoint::Discovery(authority) => authority,
            TokenEndpoint::File(_) | TokenEndpoint::Login(_) => {
                return Err(FetchError::Request.into());
            }
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let by_certificate = matches!(material.proof, Proof::Certificate);
        Ok(Arc::new(
            metadata::discover(&material.http, authority, by_certificate).await?,
        ))
    }
}

#[cfg(test)]
mod tests;
