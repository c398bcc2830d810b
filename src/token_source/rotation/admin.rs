//! The issuer's management API for one client's secrets.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::{RotationConfig, RotationError};
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::files::{self, ReadError, blocking};
use crate::http_client::HttpClient;
use crate::token_source::{Config, http_options};

/// A client of the management API.
pub(super) struct Admin {
    http: HttpClient,
    secrets: Url,
    authorization: HeaderValue,
}

impl Admin {
    pub async fn open(config: &Config, rotation: &RotationConfig) -> Result<Self, RotationError> {
        let (token_file, ca_file) = (rotation.admin_token_file.clone(), config.ca_file.clone());
        let token = blocking(move || files::read_secret(&token_file))
            .await
            .map_err(RotationError::AdminToken)?;
        let ca_pem = match ca_file {
            Some(file) => {
                let pem = blocking(move || files::read(&file, files::MAX_PUBLIC)).await;
                Some(pem.map_err(|_| RotationError::Files)?)
            }
            None => None,
        };
        let http = HttpClient::new(http_options(config.timeouts, ca_pem, None, &config.egress))
            .map_err(RotationError::Client)?;
        let text = SecretString::from(["Bearer ", token.expose_secret()].concat());
        let mut authorization = HeaderValue::from_str(text.expose_secret())
            .map_err(|_| RotationError::AdminToken(ReadError::NotText))?;
        authorization.set_sensitive(true);
        let mut secrets = rotation.admin.clone();
        if let Ok(mut path) = secrets.path_segments_mut() {
            path.pop_if_empty()
                .extend(["clients", &config.client_id, "secrets"]);
        }
        Ok(Self {
            http,
            secrets,
            authorization,
        })
    }

    async fn call(
        &self,
        method: Method,
        url: &Url,
        body: Option<String>,
    ) -> Result<Value, RotationError> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, self.authorization.clone())]);
        let answer = self
            .http
            .send_json(method, url, headers, body)
            .await
            .map_err(RotationError::Unreachable)?;
        match answer.status {
            StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT => {
                Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
            }
            status => Err(RotationError::Status(status.as_u16())),
        }
    }

    /// The metadata of all secrets, oldest first.
    pub async fn secrets(&self) -> Result<Vec<Value>, RotationError> {
        let mut listed = self.call(Method::GET, &self.secrets, None).await?;
        match listed.get_mut("secrets").map(Value::take) {
            Some(Value::Array(secrets)) => Ok(secrets),
            _ => Err(RotationError::NoSecret),
        }
    }

    /// Creates a secret; gives its id and text. The others stay.
    pub async fn create(&self) -> Result<(String, SecretString), RotationError> {
        let body = json!({ "keep_others": true }).to_string();
        let made = self.call(Method::POST, &self.secrets, Some(body)).await?;
        match (made["id"].as_str(), made["client_secret"].as_str()) {
            (Some(id), Some(secret)) => Ok((id.to_owned(), SecretString::from(secret))),
            _ => Err(RotationError::NoSecret),
        }
    }

    pub async fn delete(&self, id: &str) -> Result<(), RotationError> {
        let mut url = self.secrets.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(id);
        }
        self.call(Method::DELETE, &url, None).await.map(drop)
    }
}
