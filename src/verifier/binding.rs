//! Tokens that are bound to a key of their client (`cnf`, RFC 7800): by the certificate of its
//! connection (RFC 8705 §3), or by a proof with each request (DPoP, RFC 9449 §7).
//!
//! The binding is a part of the token and is cached with it. Its proof is checked on every request.

use std::sync::Arc;

use serde_json::Value;

use super::bearer::Scheme;
use super::{BearerToken, DpopConfig, Refusal, Request, VerifiedToken, share};
use crate::domain::claims::Claims;
use crate::domain::clock::UnixTime;
use crate::domain::reason::Reason;
use crate::jose::dpop::thumbprint::is_thumbprint;
use crate::jose::dpop::{
    Expected, InvalidProof, NotFirst, Proof, ServerState, TargetUri, sent_proof,
};

const NOT_BOUND: &str = "the token is bound to no key; send it with the scheme `Bearer`";
const ONLY_BOUND: &str = "the listener accepts only tokens that are bound to a key (DPoP)";
const NOT_AS_BOUND: &str =
    "the token is bound to a key; send it with the scheme `DPoP` and a proof";

/// The keys that a token is bound to. One that is bound to both needs both.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Binding<'a> {
    /// The thumbprint of a client's key (`jkt`, RFC 9449 §6.1).
    pub key: Option<&'a str>,
    /// The SHA-256 of a client's certificate (`x5t#S256`, RFC 8705 §3.1).
    pub certificate: Option<&'a str>,
}

impl<'a> Binding<'a> {
    /// Reads `cnf`. A member that is not known here could ask for any further proof.
    ///
    /// # Errors
    /// [`Reason::SenderConstrained`], also for a value that is no thumbprint.
    pub fn read(claims: &'a Claims) -> Result<Self, Reason> {
        let mut binding = Self::default();
        let members = match claims.get("cnf") {
            None => return Ok(binding),
            Some(Value::Object(members)) if !members.is_empty() => members,
            Some(_) => return Err(Reason::SenderConstrained),
        };
        for (name, value) in members {
            let place = match name.as_str() {
                "jkt" => &mut binding.key,
                "x5t#S256" => &mut binding.certificate,
                _ => return Err(Reason::SenderConstrained),
            };
            let value = value.as_str().filter(|text| is_thumbprint(text));
            *place = Some(value.ok_or(Reason::SenderConstrained)?);
        }
        Ok(binding)
    }

    pub fn is_none(&self) -> bool {
        self.key.is_none() && self.certificate.is_none()
    }
}

/// How a listener checks that a token belongs to the sender of a request.
pub(super) struct Holders {
    config: DpopConfig,
    state: Arc<ServerState>,
}

impl Holders {
    pub fn new(config: DpopConfig) -> Self {
        Self {
            config,
            state: Arc::default(),
        }
    }

    pub fn share(&mut self, state: Arc<ServerState>) {
        self.state = state;
    }

    /// Whether a token, or the way in which it is sent, has to be checked.
    pub fn concern(&self, token: &VerifiedToken, scheme: Scheme) -> bool {
        self.config.required || scheme == Scheme::Dpop || !token.binding().is_none()
    }

    /// The nonce that clients use now, if proofs need one.
    pub fn nonce(&self, now: UnixTime) -> Option<String> {
        self.config.nonce.then(|| self.state.nonces.current(now))
    }

    /// Checks that the sender of a request holds the keys of its token. Gives a new nonce if that
    /// of the proof ends soon.
    ///
    /// # Errors
    /// [`Refusal`] names the missing or wrong proof.
    pub async fn check(
        &self,
        request: &Request<'_>,
        (token, bearer): (&VerifiedToken, &BearerToken<'_>),
        scheme: Scheme,
        now: UnixTime,
    ) -> Result<Option<String>, Refusal> {
        let binding = token.binding();
        if let Some(bound) = binding.certificate
            && request.sender.certificate != Some(bound)
        {
            return Err(Refusal::new(Reason::CertificateBinding));
        }
        let refused = |detail: &'static str| Refusal {
            detail: Some(detail.into()),
            ..Refusal::new(Reason::TokenBinding)
        };
        match (binding.key, scheme) {
            (None, Scheme::Dpop) => Err(refused(NOT_BOUND)),
            (None, _) if self.config.required => Err(refused(ONLY_BOUND)),
            (None, _) => Ok(None),
            (Some(_), Scheme::Bearer | Scheme::Basic) => Err(refused(NOT_AS_BOUND)),
            // A WebSocket of a page has its token in a cookie or subprotocol, without a scheme.
            (Some(key), Scheme::Dpop | Scheme::None) => {
                let proof = self.verify(request, (key, bearer), now).await?;
                self.use_once(&proof, now)?;
                Ok(proof.needs_nonce().then(|| self.nonce(now)).flatten())
            }
        }
    }

    async fn verify(
        &self,
        request: &Request<'_>,
        (key, bearer): (&str, &BearerToken<'_>),
        now: UnixTime,
    ) -> Result<Proof, Refusal> {
        let proof = sent_proof(request.headers).map_err(invalid)?;
        let url = self
            .url(request)
            .ok_or_else(|| invalid(InvalidProof::Target))?;
        let expected = Expected {
            method: request.method,
            url: &url,
            token: Some(bearer.text()),
            thumbprint: Some(key),
            nonces: self.config.nonce.then_some(&self.state.nonces),
            now,
        };
        let turn = share::turn().await;
        let turn = turn.map_err(|_| Refusal::new(Reason::Busy))?;
        let verified = turn.work(|| Proof::verify(proof, &expected)).await;
        verified.map_err(invalid)
    }

    fn use_once(&self, proof: &Proof, now: UnixTime) -> Result<(), Refusal> {
        let used = self.state.replays.use_once(proof, now);
        used.map_err(|why| {
            Refusal::new(match why {
                NotFirst::Replayed => Reason::ProofReplayed,
                NotFirst::Full => Reason::ProofMemory,
            })
        })
    }

    /// The URL of a request, as its proof names it.
    fn url(&self, request: &Request<'_>) -> Option<TargetUri> {
        let sender = &request.sender;
        match &self.config.public_url {
            Some(url) => url.with_path(sender.path),
            None => TargetUri::of_request(sender.scheme, sender.host?, sender.path),
        }
    }
}

fn invalid(why: InvalidProof) -> Refusal {
    let reason = match why {
        InvalidProof::Missing => return Refusal::new(Reason::ProofMissing),
        InvalidProof::OtherKey => return Refusal::new(Reason::ProofKey),
        InvalidProof::Nonce => return Refusal::new(Reason::ProofNonce),
        _ => Reason::ProofInvalid,
    };
    Refusal {
        detail: Some(why.to_string().into()),
        ..Refusal::new(reason)
    }
}
