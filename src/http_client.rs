//! HTTP client (stub until merged).
#![allow(missing_docs)]
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::time::Duration;
use url::Url;
#[derive(Clone)]
pub struct HttpClient;
pub struct HttpOptions {
    pub connect_timeout: Duration,
    pub total_timeout: Duration,
    pub ca_pem: Option<Vec<u8>>,
    pub max_body: usize,
}
pub struct HttpAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}
pub struct BuildError;
#[derive(Clone, Copy)]
pub struct HttpError;
impl HttpError {
    pub fn as_str(self) -> &'static str {
        ""
    }
}
impl HttpClient {
    pub fn new(_o: HttpOptions) -> Result<Self, BuildError> {
        Ok(Self)
    }
    pub async fn get(&self, _u: Url, _h: HeaderMap) -> Result<HttpAnswer, HttpError> {
        Err(HttpError)
    }
}
