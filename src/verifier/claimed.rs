//! What a refused token says of itself: for the access log, and for nothing else.

use http::HeaderMap;

use super::BearerToken;
use crate::jose::verify::Jws;

/// Claims that nobody has verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimedToken {
    /// The `iss`.
    pub issuer: Option<String>,
    /// The `aud`, several joined by spaces.
    pub audience: Option<String>,
    /// The `jti`.
    pub id: Option<String>,
}

impl ClaimedToken {
    /// Reads the request's bearer token; `None` when it has none, or one that is no signed JWT.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let bearer = BearerToken::extract(headers).ok()?;
        let jws = Jws::parse(bearer.text()).ok()?;
        Some(Self {
            issuer: jws.claimed_issuer().map(str::to_owned),
            audience: jws.claimed_audiences().map(|audiences| audiences.join(" ")),
            id: jws.claimed_id().map(str::to_owned),
        })
    }
}
