//! The parameters of the requests about a token: revocation and introspection.

use std::sync::Arc;

use http::HeaderMap;

use super::error::TokenError;
use super::profile::ProfilePolicy;
use super::token::request::{Credentials, Parameters};
use crate::domain::secret::SecretString;

/// The parameters of a revocation request (RFC 7009 §2.1) or an introspection request (RFC 7662
/// §2.1), before the client is authenticated.
#[derive(Debug)]
pub(super) struct TokenParameters {
    credentials: Option<Credentials>,
    token: SecretString,
}

impl TokenParameters {
    /// Parses headers and body. The query must have no parameter. `token_type_hint` is ignored: the
    /// form of a token shows its type.
    pub(super) fn parse(
        headers: &HeaderMap,
        query: Option<&str>,
        body: &[u8],
    ) -> Result<Self, TokenError> {
        // These requests choose nothing.
        let claims = Arc::default();
        let parameters = Parameters::parse(headers, body, &claims);
        let parameters = Parameters::without_query(parameters, query, &claims)?;
        parameters.check_spelling()?;
        let standard = &ProfilePolicy::STANDARD;
        Ok(Self {
            credentials: Credentials::parse(headers, parameters.client, standard)?,
            token: parameters.token.ok_or(TokenError::NoToken)?,
        })
    }

    pub(super) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    pub(super) fn token(&self) -> &SecretString {
        &self.token
    }
}
