//! The credential of the sidecar for an upstream that reads no tokens.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::domain::secret::ExposeSecret;
use crate::files::read_secret;
use crate::proxy::headers::Added;

/// A credential whose secret is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialConfig {
    pub header: HeaderName,
    pub scheme: Scheme,
    pub file: PathBuf,
}

/// The form of the header's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// User and password (RFC 7617).
    Basic { user: String },
    /// A token (RFC 6750).
    Bearer,
    /// The content of the file.
    Plain,
}

impl CredentialConfig {
    /// The value of the header, by the present content of the file. Blocks.
    ///
    /// # Errors
    /// Describes the fault of the file, without its content.
    pub fn read(&self) -> Result<HeaderValue, String> {
        let secret = read_secret(&self.file).map_err(|error| error.to_string())?;
        let secret = secret.expose_secret();
        let value = match &self.scheme {
            Scheme::Basic { user } => {
                let pair = Zeroizing::new(format!("{user}:{secret}"));
                format!("Basic {}", STANDARD.encode(pair.as_bytes()))
            }
            Scheme::Bearer if !secret.bytes().all(|byte| byte.is_ascii_graphic()) => {
                return Err("has a character that no bearer token has".to_owned());
            }
            Scheme::Bearer => format!("Bearer {secret}"),
            Scheme::Plain => secret.to_owned(),
        };
        let value = Zeroizing::new(value);
        let is_printable = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !is_printable || value.trim_ascii() != value.as_str() {
            return Err(
                "is no value of a header: it has characters that are not printable ASCII, \
                        or a space at its begin or end"
                    .to_owned(),
            );
        }
        let mut value = HeaderValue::from_str(&value).map_err(|_| "is no value of a header")?;
        // It is never shown, and never kept for compression (RFC 7541 §7.1.3).
        value.set_sensitive(true);
        Ok(value)
    }
}

/// A credential with the last good content of its file.
pub struct UpstreamCredential {
    config: CredentialConfig,
    value: ArcSwap<HeaderValue>,
}

impl UpstreamCredential {
    /// Reads the file. Blocks.
    ///
    /// # Errors
    /// As [`CredentialConfig::read`].
    pub fn open(config: CredentialConfig) -> Result<Arc<Self>, String> {
        let value = ArcSwap::from_pointee(config.read()?);
        Ok(Arc::new(Self { config, value }))
    }

    /// Reads the file again. Returns whether its content is new. Blocks.
    ///
    /// # Errors
    /// As [`CredentialConfig::read`]. The present value stays.
    pub fn renew(&self) -> Result<bool, String> {
        let value = self.config.read()?;
        let is_new = **self.value.load() != value;
        self.value.store(Arc::new(value));
        Ok(is_new)
    }

    /// Adds the header. The client's own has been removed.
    pub(super) fn attach(&self, added: &mut Added) {
        let value = HeaderValue::clone(&self.value.load());
        added.push(self.config.header.clone(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(scheme: Scheme, content: &[u8]) -> Result<String, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, content).unwrap();
        let header = HeaderName::from_static("x-api-key");
        let value = CredentialConfig {
            header,
            scheme,
            file,
        }
        .read()?;
        assert_eq!(format!("{value:?}"), "Sensitive");
        Ok(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn each_scheme_has_its_form() {
        let basic = || Scheme::Basic {
            user: "sidecar".to_owned(),
        };
        let expected = format!("Basic {}", STANDARD.encode("sidecar:pä:ss"));
        assert_eq!(read(basic(), "pä:ss\n".as_bytes()), Ok(expected));
        assert_eq!(
            read(Scheme::Bearer, b"a.b.c\r\n"),
            Ok("Bearer a.b.c".to_owned())
        );
        assert_eq!(
            read(Scheme::Plain, b"Token a=b c"),
            Ok("Token a=b c".to_owned())
        );
    }

    #[test]
    fn a_content_that_no_header_can_carry_is_refused_without_showing_it() {
        for (scheme, content) in [
            (Scheme::Bearer, &b"two words"[..]),
            (Scheme::Bearer, "tök".as_bytes()),
            (Scheme::Plain, b"tab\there"),
            (Scheme::Plain, b"qq "),
            (Scheme::Plain, b" qq"),
            (Scheme::Plain, "schlüssel".as_bytes()),
            (Scheme::Plain, b"two\nlines"),
            (Scheme::Plain, b""),
            (Scheme::Plain, b"\xff"),
        ] {
            let error = read(scheme.clone(), content).unwrap_err();
            let shown = String::from_utf8_lossy(content);
            assert!(shown.is_empty() || !error.contains(&*shown), "{error}");
        }
    }
}
