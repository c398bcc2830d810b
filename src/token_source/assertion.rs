//! The JWT that authenticates us with a private key (RFC 7523 §3).

use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use crate::domain::clock::UnixTime;
use crate::domain::secret::SecretString;
use crate::jose::sign::{SigningKey, SigningKeyError};

/// The lifetime of an assertion. It is used at once, and authorities allow only a few minutes.
const LIFETIME: Duration = Duration::from_mins(1);
/// How far it is dated back, for authorities that tolerate no clock difference.
const DATED_BACK: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: String,
    iat: i64,
    exp: i64,
}

/// Signs an assertion for `audience`. `now` is the estimated time of the authority.
pub(super) fn sign(
    key: &SigningKey,
    kid: Option<&str>,
    client_id: &str,
    audience: &str,
    now: UnixTime,
) -> Result<SecretString, SigningKeyError> {
    let claims = Claims {
        iss: client_id,
        sub: client_id,
        aud: audience,
        jti: Uuid::new_v4().to_string(),
        iat: now.minus(DATED_BACK).0,
        exp: now.plus(LIFETIME).0,
    };
    key.sign_as("JWT", kid, &claims)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::Value;

    use super::*;
    use crate::domain::secret::ExposeSecret;
    use crate::jose::Algorithm;
    use crate::jose::key_set::KeySet;
    use crate::jose::verify::Jws;

    #[test]
    fn an_assertion_names_client_audience_and_times_and_is_unique() {
        let key = SigningKey::generate(Algorithm::ES256).unwrap();
        let now = UnixTime(1_000_000);
        let signed = |kid| sign(&key, kid, "legacy", "https://a.example", now).unwrap();
        let (named, nameless) = (signed(Some("k1")), signed(None));
        let parts = |token: &SecretString| -> [Value; 2] {
            let mut parts = token.expose_secret().split('.');
            [(); 2].map(|()| {
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap())
                    .unwrap()
            })
        };
        let [header, claims] = parts(&named);
        assert_eq!(header["kid"], "k1");
        assert_eq!(
            (header["alg"].as_str(), header["typ"].as_str()),
            (Some("ES256"), Some("JWT"))
        );
        for (claim, value) in [
            ("iss", "legacy"),
            ("sub", "legacy"),
            ("aud", "https://a.example"),
        ] {
            assert_eq!(claims[claim], value);
        }
        assert_eq!(
            (claims["iat"].as_i64(), claims["exp"].as_i64()),
            (Some(999_990), Some(1_000_060))
        );
        let [header, other] = parts(&nameless);
        assert!(header.get("kid").is_none());
        assert_ne!(claims["jti"], other["jti"]);
        let keys = serde_json::json!({ "keys": [key.public_jwk()] }).to_string();
        let keys = KeySet::parse(keys.as_bytes()).unwrap();
        let jws = Jws::parse(nameless.expose_secret()).unwrap();
        assert!(
            keys.candidates(None, Algorithm::ES256)
                .unwrap()
                .iter()
                .any(|key| jws.verify(key))
        );
    }
}
