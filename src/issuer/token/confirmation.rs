//! The keys that an access token is bound to: its claim `cnf` (RFC 7800 §3.1).

use serde_json::{Map, Value};

use crate::domain::client_certificate::ClientConnection;
use crate::domain::clock::UnixTime;
use crate::domain::secret::ExposeSecret;
use crate::issuer::Client;
use crate::issuer::error::TokenError;
use crate::issuer::metadata::TOKEN_PATH;
use crate::issuer::state::State;
use crate::issuer::token::request::TokenRequest;
use crate::jose::dpop::{Expected, InvalidProof, NotFirst, Proof, SCHEME, TargetUri};

/// The keys of a token. A client that presents the token must prove each of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::issuer) struct Confirmation {
    /// The thumbprint of the client's certificate: `x5t#S256` (RFC 8705 §3.1).
    certificate: Option<String>,
    /// The thumbprint of the key of the proof: `jkt` (RFC 9449 §6.1).
    proof_key: Option<String>,
}

impl Confirmation {
    /// The keys that the token of this request is bound to. `path` is the requested one.
    ///
    /// # Errors
    /// If the client must prove a key and does not, or sends an invalid proof.
    pub(super) fn of(
        client: &Client,
        request: &TokenRequest,
        (path, from): (&str, &ClientConnection),
        state: &State,
        now: UnixTime,
    ) -> Result<Self, TokenError> {
        let bound = client.bound_access_tokens;
        let certificate = from.certificate.as_ref().filter(|_| bound.to_certificate);
        if bound.to_certificate && certificate.is_none() {
            return Err(TokenError::NoCertificate);
        }
        let proof_key = match request.proof() {
            Some(proof) => Some(proven_key(proof.expose_secret(), path, state, now)?),
            None if bound.to_dpop_key => return Err(TokenError::NoProof),
            None => None,
        };
        Ok(Self {
            certificate: certificate.map(|it| it.thumbprint.clone()),
            proof_key,
        })
    }

    /// The claim; `None` for a bearer token.
    pub(super) fn claim(&self) -> Option<Value> {
        let members = [("x5t#S256", &self.certificate), ("jkt", &self.proof_key)];
        let members: Map<String, Value> = members
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into())))
            .collect();
        (!members.is_empty()).then_some(Value::Object(members))
    }

    /// The `token_type` of the answer (RFC 9449 §5).
    pub(super) fn token_type(&self) -> &'static str {
        match self.proof_key {
            Some(_) => SCHEME,
            None => "Bearer",
        }
    }
}

/// The thumbprint of the key that made a proof for the token endpoint, which is then used.
fn proven_key(proof: &str, path: &str, state: &State, now: UnixTime) -> Result<String, TokenError> {
    let base = state.policy.issuer.trim_end_matches('/');
    let endpoint = TargetUri::parse(&[base, TOKEN_PATH].concat());
    // The requested path may be another one of the endpoint.
    let requested = endpoint.as_ref().and_then(|it| it.with_path(path));
    let mut proven = Err(InvalidProof::Target);
    for url in [requested, endpoint].iter().flatten() {
        if proven == Err(InvalidProof::Target) {
            let expected = Expected {
                method: "POST",
                url,
                token: None,
                thumbprint: None,
                nonces: None,
                now,
            };
            proven = Proof::verify(proof, &expected);
        }
    }
    let proven = proven.map_err(TokenError::InvalidProof)?;
    match state.proofs.use_once(&proven, now) {
        Ok(()) => Ok(proven.thumbprint().to_owned()),
        Err(NotFirst::Replayed) => Err(TokenError::ProofReused),
        Err(NotFirst::Full) => Err(TokenError::TooManyProofs),
    }
}
