//! One introspection request (RFC 7662 §2).

use std::borrow::Cow;

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;
use url::Url;

use crate::domain::claims::Claims;
use crate::domain::oauth::{BasicEncoding, basic_authorization};
use crate::domain::secret::{ExposeSecret, SecretString, SharedSecret};
use crate::http_client::{Failed, HttpAnswer, HttpClient};

/// Our credentials at an introspection endpoint (RFC 7662 §2.1).
#[derive(Clone, Debug)]
pub struct IntrospectionClient {
    /// Our client id.
    pub client_id: String,
    /// Our secret; its file may change.
    pub client_secret: SharedSecret,
    /// How both are encoded in `Authorization: Basic`; `None` sends them in the form.
    pub basic: Option<BasicEncoding>,
}

/// Why a query about a token has no usable answer.
#[derive(Debug)]
pub(in crate::verifier) enum Failure {
    /// No complete answer came in time.
    NoAnswer(Failed),
    /// The authority refuses our credentials, or to answer us.
    Credentials(Cow<'static, str>),
    /// The answer gives no state of this token.
    Answer(Cow<'static, str>),
}

impl Failure {
    /// An unusable answer, with its status and its error message.
    pub fn answer(why: &'static str, answer: &HttpAnswer, said: Option<String>) -> Self {
        let said = said.map_or(String::new(), |said| format!(": {said}"));
        Self::Answer(match answer.status {
            StatusCode::OK => format!("{why}{said}").into(),
            status => format!("{why} ({}){said}", status.as_u16()).into(),
        })
    }

    pub fn text(&self) -> Cow<'static, str> {
        match self {
            Self::NoAnswer(failed) => failed.to_string().into(),
            Self::Credentials(text) | Self::Answer(text) => text.clone(),
        }
    }
}

impl From<&'static str> for Failure {
    fn from(text: &'static str) -> Self {
        Self::Answer(text.into())
    }
}

/// The authority's answer about a token.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::verifier) enum Verdict {
    /// Active, with the members of the answer.
    Active(Claims),
    /// Not active now.
    Inactive,
}

/// Asks an authority about a token. Without `client` the request has no credentials: some
/// authorities answer everyone who reaches the endpoint.
pub(in crate::verifier) async fn ask(
    http: &HttpClient,
    url: &Url,
    client: Option<&IntrospectionClient>,
    token: &SecretString,
) -> Result<Verdict, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let secret = client.map(|client| client.client_secret.get());
    let mut form = vec![
        ("token", token.expose_secret()),
        ("token_type_hint", "access_token"),
    ];
    if let (Some(client), Some(secret)) = (client, &secret) {
        match client.basic {
            Some(encoding) => {
                let basic = basic_authorization(&client.client_id, secret, encoding);
                headers.insert(AUTHORIZATION, basic.ok_or("the credential cannot be sent")?);
            }
            None => {
                form.push(("client_id", &client.client_id));
                form.push(("client_secret", secret.expose_secret()));
            }
        }
    }
    let answer = http.ask_form(url, headers, &form).await;
    let answer = answer.map_err(Failure::NoAnswer)?;
    read(&answer).map_err(|why| {
        let mut sent = vec![token.expose_secret()];
        sent.extend(secret.iter().map(|secret| secret.expose_secret()));
        match (
            answer.status,
            Failure::answer(why, &answer, answer.said(url, &sent)),
        ) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, Failure::Answer(text)) => {
                Failure::Credentials(text)
            }
            (_, failure) => failure,
        }
    })
}

/// RFC 7662 §2.2.
fn read(answer: &HttpAnswer) -> Result<Verdict, &'static str> {
    if answer.status != StatusCode::OK {
        return Err("the introspection endpoint answered with an error status");
    }
    let claims =
        Claims::parse(&answer.body).map_err(|_| "the introspection answer is not a JSON object")?;
    match claims.get("active") {
        Some(Value::Bool(true)) => Ok(Verdict::Active(claims)),
        Some(Value::Bool(false)) => Ok(Verdict::Inactive),
        _ => Err("the introspection answer does not say whether the token is active"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn introspection_needs_status_200_and_a_boolean_active() {
        for (status, body, expected) in [
            (200, r#"{"active":true}"#, Some(true)),
            (200, r#"{"active":false,"scope":"a"}"#, Some(false)),
            (200, r#"{"active":"true"}"#, None),
            (200, r#"{"active":1}"#, None),
            (200, r#"{"active":null}"#, None),
            (200, r#"{"active":true,"active":false}"#, None),
            (200, "{}", None),
            (200, "", None),
            (200, "<html>", None),
            (401, r#"{"active":true}"#, None),
            (201, r#"{"active":true}"#, None),
        ] {
            let answer = HttpAnswer {
                status: StatusCode::from_u16(status).unwrap(),
                headers: HeaderMap::new(),
                body: body.to_owned().into(),
            };
            let verdict = read(&answer).ok();
            let is_active = verdict.map(|verdict| verdict != Verdict::Inactive);
            assert_eq!(is_active, expected, "{status} {body}");
        }
    }
}
