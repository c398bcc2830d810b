//! The form of a token request.

use super::authentication::Proof;
use super::{AudienceParameter, Authentication, Config};
use crate::domain::oauth::{CLIENT_ASSERTION_TYPE, GrantType, SVID_ASSERTION_TYPE, TokenTypeUri};
use crate::domain::secret::{ExposeSecret, SecretString};

/// The form of RFC 6749 §4.4.2, or with a caller's token that of RFC 8693 §2.1. `scope` and
/// `audiences` are the joined configured values.
pub(super) fn form<'f>(
    config: &'f Config,
    proof: &'f Proof,
    assertion: Option<&'f SecretString>,
    subject: Option<&'f SecretString>,
    (scope, audiences): (&'f str, &'f str),
) -> Vec<(&'f str, &'f str)> {
    let mut form = match subject {
        None => vec![("grant_type", GrantType::ClientCredentials.as_str())],
        Some(subject) => vec![
            ("grant_type", GrantType::TokenExchange.as_str()),
            ("subject_token", subject.expose_secret()),
            ("subject_token_type", TokenTypeUri::AccessToken.as_str()),
        ],
    };
    if !matches!(proof, Proof::Basic(..)) {
        form.push(("client_id", &config.client_id));
    }
    if let Proof::Post(secret) = proof {
        form.push(("client_secret", secret.expose_secret()));
    }
    if let Some(assertion) = assertion {
        let of_type = match config.authentication {
            Authentication::Assertion { is_svid: true, .. } => SVID_ASSERTION_TYPE,
            _ => CLIENT_ASSERTION_TYPE,
        };
        form.push(("client_assertion_type", of_type));
        form.push(("client_assertion", assertion.expose_secret()));
    }
    if !scope.is_empty() {
        form.push(("scope", scope));
    }
    match config.audience_parameter {
        AudienceParameter::Audience => {
            form.extend(
                config
                    .audiences
                    .iter()
                    .map(|audience| ("audience", audience.as_str())),
            );
        }
        AudienceParameter::Aud if !audiences.is_empty() => form.push(("aud", audiences)),
        AudienceParameter::Aud => {}
    }
    form.extend(
        config
            .resources
            .iter()
            .map(|resource| ("resource", resource.as_str())),
    );
    form.extend(
        config
            .extra_parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    form
}
