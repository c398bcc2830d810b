//! The parameters of the local API's requests: a JSON object or a form, each name at most once.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use crate::domain::claims::{Claims, WrongType};
use crate::domain::secret::SecretString;

/// The known parameters; others are ignored.
pub(super) struct Parameters {
    /// The name of a credential, or of an authority.
    pub(super) identity_provider: Option<String>,
    pub(super) target: Option<String>,
    pub(super) user_token: Option<SecretString>,
    pub(super) token: Option<SecretString>,
    pub(super) skip_cache: bool,
}

impl Parameters {
    /// Parses a body by its media type.
    ///
    /// # Errors
    /// The fault of the body, for the answer.
    pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, &'static str> {
        let kind = headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes());
        let kind = kind.unwrap_or_default().to_ascii_lowercase();
        let members = if kind.starts_with(b"application/json") {
            Claims::parse(body).ok()
        } else if kind.starts_with(b"application/x-www-form-urlencoded") {
            form(body)
        } else {
            return Err(
                "the content type must be application/json or application/x-www-form-urlencoded",
            );
        };
        let members = members.ok_or("the body is malformed, or a parameter is repeated")?;
        let text = |name| members.string(name).map(|text| text.map(str::to_owned));
        let secret = |name| {
            members
                .string(name)
                .map(|text| text.map(SecretString::from))
        };
        let read = || {
            Ok(Self {
                identity_provider: text("identity_provider")?,
                target: text("target")?,
                user_token: secret("user_token")?,
                token: secret("token")?,
                skip_cache: matches!(
                    members.get("skip_cache"),
                    Some(Value::Bool(true)) | Some(Value::String(_))
                ) && members.get("skip_cache") != Some(&"false".into()),
            })
        };
        read().map_err(|_: WrongType| "a parameter has a wrong type: it must be a text")
    }
}

/// The parameters of a form; `None` if one is repeated.
fn form(body: &[u8]) -> Option<Claims> {
    let mut members = Map::new();
    for (name, value) in form_urlencoded::parse(body) {
        if members
            .insert(name.into_owned(), value.into_owned().into())
            .is_some()
        {
            return None;
        }
    }
    Some(members.into())
}
