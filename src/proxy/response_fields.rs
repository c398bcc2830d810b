//! The fields that a listener sets on every response: configured ones, and those of CORS (Fetch
//! standard, "HTTP responses").

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;

use crate::domain::web_origin::WebOrigin;

/// The beginning of the fields that only the listener writes when it has CORS.
const ACCESS_CONTROL: &str = "access-control-";

/// The fields of a listener's responses.
#[derive(Debug, Default)]
pub struct ResponseFields {
    /// Replace fields of the same name.
    set: Vec<(HeaderName, HeaderValue)>,
    cors: Option<Cors>,
}

/// The pages of other sites that may use a listener, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Cors {
    pub origins: Origins,
    /// The methods that a page may use.
    pub methods: HeaderValue,
    /// The header fields that a page may send; `None`: those that it asks for.
    pub headers: Option<HeaderValue>,
    /// The header fields of a response that a page may read.
    pub exposed: Option<HeaderValue>,
    /// Whether a page may send cookies.
    pub credentials: bool,
    /// How long a browser keeps the reply to a preflight.
    pub max_age: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Origins {
    /// All pages.
    Any,
    Listed(Vec<WebOrigin>),
}

/// The fields for the responses to one request.
#[derive(Clone, Debug)]
pub struct FieldsOfRequest {
    fields: Arc<ResponseFields>,
    /// The origin of a page that may use the listener.
    origin: Option<HeaderValue>,
}

impl ResponseFields {
    /// `None` when there is nothing to set.
    #[must_use]
    pub fn new(set: Vec<(HeaderName, HeaderValue)>, cors: Option<Cors>) -> Option<Arc<Self>> {
        (!set.is_empty() || cors.is_some()).then(|| Arc::new(Self { set, cors }))
    }

    /// The fields for the responses to a request.
    #[must_use]
    pub fn of_request(self: &Arc<Self>, request: &HeaderMap) -> FieldsOfRequest {
        let origin = self.cors.as_ref().and_then(|cors| cors.permitted(request));
        FieldsOfRequest {
            fields: self.clone(),
            origin: origin.cloned(),
        }
    }
}

impl Cors {
    /// The origin of a request's page, if it may use the listener.
    fn permitted<'r>(&self, request: &'r HeaderMap) -> Option<&'r HeaderValue> {
        let mut origins = request.get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else {
            return None;
        };
        match &self.origins {
            Origins::Any => Some(origin),
            Origins::Listed(listed) => {
                let parsed = origin.to_str().ok()?.parse::<WebOrigin>().ok()?;
                listed.contains(&parsed).then_some(origin)
            }
        }
    }
}

impl FieldsOfRequest {
    /// Whether pages of other sites may use the listener at all.
    #[must_use]
    pub fn has_cors(&self) -> bool {
        self.fields.cors.is_some()
    }

    /// Sets the fields on a response.
    pub fn write(&self, response: &mut ResponseHeader) {
        // A response holds far fewer fields than would not fit.
        for (name, value) in &self.fields.set {
            let _ = response.insert_header(name.clone(), value.clone());
        }
        let Some(cors) = &self.fields.cors else {
            return;
        };
        remove_access_control(response);
        // A cache must not show one origin's response to another.
        let _ = response.append_header(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = &self.origin {
            write_origin(response, cors, origin);
            if let Some(exposed) = &cors.exposed {
                let name = header::ACCESS_CONTROL_EXPOSE_HEADERS;
                let _ = response.insert_header(name, exposed.clone());
            }
        }
    }

    /// The response to a preflight of a page that may use the listener. `None`: it may not.
    #[must_use]
    pub fn preflight(&self, request: &HeaderMap) -> Option<ResponseHeader> {
        let cors = self.fields.cors.as_ref()?;
        self.origin.as_ref()?;
        let mut response = ResponseHeader::build(StatusCode::NO_CONTENT, Some(8)).ok()?;
        let asked = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        let max_age = HeaderValue::from(cors.max_age.as_secs());
        let fields = [
            (
                header::ACCESS_CONTROL_ALLOW_METHODS,
                Some(cors.methods.clone()),
            ),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                cors.headers.clone().or_else(|| asked.cloned()),
            ),
            (header::ACCESS_CONTROL_MAX_AGE, Some(max_age)),
        ];
        self.write(&mut response);
        for (name, value) in fields {
            if let Some(value) = value {
                response.insert_header(name, value).ok()?;
            }
        }
        let vary = "Access-Control-Request-Method, Access-Control-Request-Headers";
        response
            .append_header(header::VARY, HeaderValue::from_static(vary))
            .ok()?;
        Some(response)
    }
}

fn write_origin(response: &mut ResponseHeader, cors: &Cors, origin: &HeaderValue) {
    let value = match cors.origins {
        Origins::Any if !cors.credentials => HeaderValue::from_static("*"),
        _ => origin.clone(),
    };
    let _ = response.insert_header(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
    if cors.credentials {
        let name = header::ACCESS_CONTROL_ALLOW_CREDENTIALS;
        let _ = response.insert_header(name, HeaderValue::from_static("true"));
    }
}

/// Removes the upstream's own fields: two of them would make a browser refuse the response.
fn remove_access_control(response: &mut ResponseHeader) {
    let is_own = |name: &&HeaderName| name.as_str().starts_with(ACCESS_CONTROL);
    let names: Vec<HeaderName> = response.headers.keys().filter(is_own).cloned().collect();
    for name in names {
        response.remove_header(&name);
    }
}
