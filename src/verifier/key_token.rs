//! The bearer token for the request of an authority's keys, from a file that another program keeps
//! fresh.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use url::{Origin, Url};
use zeroize::Zeroizing;

use crate::domain::secret::{ExposeSecret, SecretString};
use crate::files::{self, Watched};
use crate::jose::live_keys::FetchError;

/// A token file, and the origin that gets the token.
pub(super) struct KeyToken {
    file: PathBuf,
    origin: Origin,
    watched: Arc<Watched>,
}

impl KeyToken {
    /// The token in `file` for the origin of `endpoint` only.
    pub(super) fn new(file: &Path, endpoint: &Url) -> Arc<Self> {
        Arc::new(Self {
            file: file.to_owned(),
            origin: endpoint.origin(),
            watched: Watched::new([file.to_owned()]),
        })
    }

    /// The present token, if a URL is of its origin.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) async fn token_for(
        self: &Arc<Self>,
        url: &Url,
    ) -> Result<Option<SecretString>, FetchError> {
        if url.origin() != self.origin {
            return Ok(None);
        }
        let of = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            of.watched.note();
            files::read_secret(&of.file)
        });
        let read = read
            .await
            .map_err(|_| "its key token file cannot be read")?;
        let token = read.map_err(|error| format!("its key token file {error}"))?;
        Ok(Some(token))
    }

    /// Ends when the file differs from the content that was last read.
    pub(super) async fn changed(self: Arc<Self>) {
        self.watched.changed().await;
    }
}

/// The header fields of a request with this token.
///
/// # Errors
/// When the token has characters that no header may have.
pub(super) fn fields(token: Option<&SecretString>) -> Result<HeaderMap, FetchError> {
    let mut fields = HeaderMap::new();
    if let Some(token) = token {
        let text = Zeroizing::new(["Bearer ", token.expose_secret()].concat());
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| "its key token file holds characters that no header may have")?;
        value.set_sensitive(true);
        fields.insert(AUTHORIZATION, value);
    }
    Ok(fields)
}
