//! Restricts which web pages may use a listener: its own and the configured origins.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Refused;
use crate::domain::reason::Reason;
use crate::domain::web_origin::{Site, WebOrigin, site};

const NO_HEADER: &str = "The request lacks the header that this listener requires (requireHeader). \
    Pages of other sites cannot send it.";

#[derive(Clone, Debug, Default)]
pub struct Pages {
    /// The origins that may use it besides its own.
    pub allowed_origins: Vec<WebOrigin>,
    /// The header that every other request must carry.
    pub require_header: Option<RequiredHeader>,
}

/// A required header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredHeader {
    pub name: HeaderName,
    /// The required value; `None`: any non-empty value.
    pub value: Option<HeaderValue>,
}

impl Pages {
    /// Refuses requests of other sites' pages. A request without an origin comes from a program,
    /// unless a required header is configured.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Refused> {
        match (site(headers, &self.allowed_origins), &self.require_header) {
            (Site::Foreign, _) => Err(Reason::CrossSite.into()),
            // A page cannot forge its origin. Its preflight does not carry the page's headers.
            (Site::Listed, _) | (_, None) => Ok(()),
            (_, Some(required)) if required.is_in(headers) => Ok(()),
            (_, Some(_)) => Err(Refused::because(Reason::CrossSite, NO_HEADER)),
        }
    }
}

impl RequiredHeader {
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(&self.name).iter();
        match (&self.value, values.next(), values.next()) {
            (Some(wanted), Some(value), None) => wanted == value,
            (None, Some(value), None) => !value.is_empty(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_required_header_is_there_once_and_as_it_must_be() {
        let is_permitted = |value: Option<&str>, pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in [("host", "sidecar.test")].iter().chain(pairs) {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let value = value.map(|value| HeaderValue::from_str(value).unwrap());
            let require_header = Some(RequiredHeader {
                name: HeaderName::from_static("x-sidecar"),
                value,
            });
            let allowed_origins = vec!["http://app.test".parse().unwrap()];
            Pages {
                allowed_origins,
                require_header,
            }
            .check(&headers)
            .is_ok()
        };
        assert!(is_permitted(None, &[("x-sidecar", "anything")]));
        assert!(is_permitted(Some("1"), &[("x-sidecar", "1")]));
        assert!(is_permitted(
            Some("1"),
            &[("x-sidecar", "1"), ("origin", "http://sidecar.test")]
        ));
        assert!(
            is_permitted(None, &[("origin", "http://app.test")]),
            "its preflight has no header of its own"
        );
        for (value, pairs) in [
            (None, &[][..]),
            (None, &[("x-sidecar", "")]),
            (Some("1"), &[("x-sidecar", "2")]),
            (Some("1"), &[("x-sidecar", "1"), ("x-sidecar", "1")]),
            (None, &[("x_sidecar", "1")]),
            (None, &[("origin", "http://sidecar.test")]),
            (None, &[("x-sidecar", "1"), ("origin", "http://evil.test")]),
            (
                None,
                &[("x-sidecar", "1"), ("referer", "http://evil.test/")],
            ),
        ] {
            assert!(!is_permitted(value, pairs), "{value:?} {pairs:?}");
        }
    }
}
