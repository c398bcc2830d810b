//! Requests, clients and TLS settings, made of options.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use reqwest::{Client, ClientBuilder, Request, redirect, retry};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use url::Url;

use super::options::{BuildError, HttpOptions};
use super::reach::{Reach, System};
use super::reuse::NoteConnects;
use super::trust::{self, Trust};
use super::{POOL_IDLE, USER_AGENT};
use crate::domain::secret::{ExposeSecret, SecretString};

pub(super) fn form_request(url: &Url, headers: HeaderMap, form: &[(&str, &str)]) -> Request {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let mut request = Request::new(http::Method::POST, url.clone());
    *request.headers_mut() = headers;
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(CONTENT_TYPE, form_type);
    *request.body_mut() = Some(body.into());
    request
}

pub(super) fn builder(options: &HttpOptions, reach: Option<&Arc<Reach>>) -> ClientBuilder {
    let builder = Client::builder()
        .user_agent(USER_AGENT)
        .no_proxy()
        .referer(false)
        .redirect(redirect::Policy::none())
        // The caller decides about repetition. hyper still replaces a pooled connection that was
        // closed before its use.
        .retry(retry::never())
        .connector_layer(NoteConnects)
        .connect_timeout(options.connect_timeout)
        .timeout(options.total_timeout)
        .pool_idle_timeout(POOL_IDLE);
    match reach {
        Some(reach) => builder
            .https_only(reach.https_only)
            .dns_resolver(reach.clone()),
        None => builder.dns_resolver(Arc::new(System)),
    }
}

/// The TLS towards a proxy: the platform's certificates are trusted, and no certificate is shown.
///
/// # Errors
/// When TLS cannot be set up.
pub fn proxy_tls() -> Result<Arc<rustls::ClientConfig>, BuildError> {
    let trust = Trust::with_platform(None).map_err(|_| BuildError::Certificate)?;
    tls(Arc::new(trust), None).map(Arc::new)
}

pub(super) fn tls(
    trust: Arc<Trust>,
    identity: Option<&SecretString>,
) -> Result<rustls::ClientConfig, BuildError> {
    let builder = rustls::ClientConfig::builder_with_provider(trust::provider());
    let builder = builder
        .with_safe_default_protocol_versions()
        .map_err(|_| BuildError::Tls)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(trust);
    let mut tls = match identity {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let pem = pem.expose_secret().as_bytes();
            let chain = trust::certificates(pem).map_err(|_| BuildError::Identity)?;
            let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| BuildError::Identity)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|_| BuildError::Identity)?
        }
    };
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}
