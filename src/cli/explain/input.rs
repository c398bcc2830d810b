//! The token and the header fields of the request that `explain` evaluates.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use zeroize::Zeroizing;

use crate::cli::Ended;
use crate::domain::oauth::MAX_TOKEN_SIZE;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::files::{self, ReadError};
use crate::jose::dpop::DPOP;

/// Reads a token from a file, or from standard input for `-`.
pub(super) fn read_token(file: &Path) -> anyhow::Result<SecretString> {
    let mut bytes = Zeroizing::new(Vec::new());
    // Longer than any valid token, so that an oversized one is recognised.
    let most = 2 * MAX_TOKEN_SIZE as u64;
    let read = if file == Path::new("-") {
        std::io::stdin().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    let unusable =
        |error: ReadError| Ended::Usage(format!("the token file {} {error}", file.display()));
    read.map_err(|error| unusable(error.into()))?;
    Ok(SecretString::from(
        files::text(&bytes).map_err(unusable)?.trim(),
    ))
}

/// The address of `--from`.
pub(super) fn peer(from: Option<&str>) -> anyhow::Result<IpAddr> {
    let parsed = from.map_or(Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)), str::parse);
    parsed.map_err(|_| {
        let message = "with `--listener`, `--from` is an IP address; the id of a client needs \
                       `--to LISTENER` instead";
        Ended::Usage(message.to_owned()).into()
    })
}

/// The header fields of the request: the requested ones and the token, with the scheme `DPoP` if
/// they have a proof.
pub(super) fn fields(
    headers: &[String],
    token: Option<&SecretString>,
) -> anyhow::Result<Vec<(HeaderName, HeaderValue)>> {
    let mut fields = Vec::new();
    for header in headers {
        let parsed = header.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((
                name,
                HeaderValue::from_bytes(value.trim_matches([' ', '\t']).as_bytes()).ok()?,
            ))
        });
        let Some(parsed) = parsed else {
            let message =
                "a header is written `NAME: VALUE`, without line ends and other control characters";
            return Err(Ended::Usage(message.to_owned()).into());
        };
        fields.push(parsed);
    }
    if let Some(token) = token {
        let has_proof = fields.iter().any(|(name, _)| *name == DPOP);
        let scheme = if has_proof { "DPoP " } else { "Bearer " };
        let text = SecretString::from([scheme, token.expose_secret()].concat());
        let mut value = HeaderValue::from_bytes(text.expose_secret().as_bytes()).map_err(|_| {
            Ended::Usage("the token file holds characters that no header can carry".to_owned())
        })?;
        value.set_sensitive(true);
        fields.push((AUTHORIZATION, value));
    }
    Ok(fields)
}
