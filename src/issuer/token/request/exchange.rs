//! The parameters of a token exchange (RFC 8693 §2.1).

use super::TokenError;
use crate::domain::oauth::TokenTypeUri;
use crate::domain::secret::SecretString;

/// The parameters, as text.
#[derive(Default)]
pub(super) struct ExchangeTexts {
    subject_token: Option<SecretString>,
    subject_token_type: Option<String>,
    actor_token: Option<SecretString>,
    actor_token_type: Option<String>,
    requested_token_type: Option<String>,
}

impl ExchangeTexts {
    /// Keeps a parameter if it is one of these.
    pub(super) fn add(&mut self, name: &str, value: String) {
        match name {
            "subject_token" => self.subject_token = Some(value.into()),
            "subject_token_type" => self.subject_token_type = Some(value),
            "actor_token" => self.actor_token = Some(value.into()),
            "actor_token_type" => self.actor_token_type = Some(value),
            "requested_token_type" => self.requested_token_type = Some(value),
            _ => {}
        }
    }
}

/// A token that is exchanged, or that names the actor.
#[derive(Debug)]
pub(in crate::issuer) struct PresentedToken {
    pub(in crate::issuer) jwt: SecretString,
    pub(in crate::issuer) kind: TokenTypeUri,
}

/// The tokens of a request, and the type of the new token.
#[derive(Debug)]
pub(in crate::issuer) struct ExchangeParameters {
    pub(in crate::issuer) subject: PresentedToken,
    pub(in crate::issuer) actor: Option<PresentedToken>,
    pub(in crate::issuer) requested: TokenTypeUri,
}

impl ExchangeParameters {
    pub(super) fn of(exchange: ExchangeTexts) -> Result<Self, TokenError> {
        let subject = exchange
            .subject_token
            .ok_or(TokenError::NoExchangedToken("subject_token"))?;
        let kind = |name, text: Option<String>| {
            let kind = text.as_deref().and_then(TokenTypeUri::parse);
            kind.ok_or(TokenError::TokenTypeUri(name))
        };
        let actor_type = exchange.actor_token_type;
        let actor = match exchange.actor_token {
            Some(jwt) => Some(PresentedToken {
                jwt,
                kind: kind("actor_token_type", actor_type)?,
            }),
            None if actor_type.is_some() => {
                return Err(TokenError::NoExchangedToken("actor_token"));
            }
            None => None,
        };
        let requested = match exchange.requested_token_type {
            None => TokenTypeUri::AccessToken,
            Some(text) => TokenTypeUri::parse(&text)
                .filter(|kind| *kind != TokenTypeUri::IdToken)
                .ok_or(TokenError::RequestedTokenType)?,
        };
        Ok(Self {
            subject: PresentedToken {
                jwt: subject,
                kind: kind("subject_token_type", exchange.subject_token_type)?,
            },
            actor,
            requested,
        })
    }
}
