//! Issuers, and the comparison of their names.

use std::borrow::Cow;

/// The place of a tenant in an issuer, as Microsoft Entra writes it.
const TENANT_ID: &str = "{tenantid}";

/// The issuer of an authority, with its rule of comparison.
///
/// Issuers are compared exactly (RFC 8414 §3.3, RFC 9068 §4). plgd ignores differences in the
/// number of slashes in a row and at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerName {
    written: String,
    /// The canonical spelling, if slashes do not matter.
    canonical: Option<String>,
}

impl IssuerName {
    /// An issuer that is compared character by character.
    #[must_use]
    pub fn exact(written: &str) -> Self {
        Self {
            written: written.to_owned(),
            canonical: None,
        }
    }

    /// An issuer that is compared like plgd does.
    #[must_use]
    pub fn as_plgd_compares(written: &str) -> Self {
        Self {
            written: written.to_owned(),
            canonical: Some(canonical(written).into_owned()),
        }
    }

    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }

    /// The canonical name of the issuer in the store, for every spelling in the configuration and
    /// in tokens.
    #[must_use]
    pub fn name(&self) -> &str {
        self.canonical.as_deref().unwrap_or(&self.written)
    }

    /// Whether another text names this issuer.
    #[must_use]
    pub fn is(&self, other: &str) -> bool {
        self.written == other
            || self
                .canonical
                .as_ref()
                .is_some_and(|canonical| *canonical == self::canonical(other))
    }

    /// Whether a text of a key set or of metadata names this issuer, if `{tenantid}` in it stands
    /// for a tenant. Microsoft Entra writes it where a document is that of all tenants.
    #[must_use]
    pub fn is_in(&self, written: &str, tenant: Option<&str>) -> bool {
        match tenant {
            Some(tenant) => self.is(&written.replace(TENANT_ID, tenant)),
            None => self.is(written),
        }
    }

    /// Whether another text differs from this issuer only by slashes that matter.
    #[must_use]
    pub fn is_nearly(&self, other: &str) -> bool {
        self.canonical.is_none()
            && self.written != other
            && canonical(&self.written) == canonical(other)
    }

    /// All names of the issuer in the store: the canonical name, and those that earlier versions
    /// took from tokens.
    #[must_use]
    pub fn spellings(&self) -> Vec<String> {
        let mut spellings = vec![self.name().to_owned()];
        if let Some(canonical) = &self.canonical {
            let earlier = [self.written.clone(), format!("{canonical}/")];
            spellings.extend(earlier.into_iter().filter(|spelling| spelling != canonical));
            spellings.dedup();
        }
        spellings
    }
}

/// The canonical spelling of an issuer in plgd: slashes in a row become one, and those at the end
/// are removed. The slashes of the scheme stay.
#[must_use]
pub fn canonical(issuer: &str) -> Cow<'_, str> {
    let (scheme, rest) = match issuer.find("://") {
        Some(at) => issuer.split_at(at + 3),
        None => ("", issuer),
    };
    if !rest.contains("//") {
        // A scheme alone ends with its own slashes.
        let end = scheme.len() + rest.trim_end_matches('/').len();
        return Cow::Borrowed(issuer.get(..end).unwrap_or(issuer));
    }
    let mut canonical = scheme.to_owned();
    for character in rest.chars() {
        if character != '/'
            || !canonical
                .get(scheme.len()..)
                .is_some_and(|so_far| so_far.ends_with('/'))
        {
            canonical.push(character);
        }
    }
    let end = scheme.len()
        + canonical
            .get(scheme.len()..)
            .unwrap_or_default()
            .trim_end_matches('/')
            .len();
    canonical.truncate(end);
    Cow::Owned(canonical)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn repeated_and_final_slashes_are_removed() {
        for (issuer, expected) in [
            ("https://host", "https://host"),
            ("https://host/", "https://host"),
            ("https://host//", "https://host"),
            ("https://host/a//b///c/", "https://host/a/b/c"),
            ("https://host/a/b", "https://host/a/b"),
            ("https:////host", "https:///host"),
            ("https://", "https://"),
            ("https:///", "https://"),
            ("/a///a", "/a/a"),
            ("//a/a//", "/a/a"),
            ("host/", "host"),
            ("https://host/x://y", "https://host/x:/y"),
            ("https://HOST/ä//", "https://HOST/ä"),
            ("/", ""),
            ("", ""),
        ] {
            assert_eq!(canonical(issuer), expected, "{issuer}");
        }
    }

    #[test]
    fn slashes_matter_except_in_plgds_comparison() {
        let (exact, plgd) = (
            IssuerName::exact("https://host/"),
            IssuerName::as_plgd_compares("https://host/"),
        );
        assert!(
            exact.is("https://host/")
                && !exact.is("https://host")
                && exact.is_nearly("https://host")
        );
        assert!(!exact.is_nearly("https://host/") && !exact.is_nearly("https://other"));
        for spelling in ["https://host", "https://host/", "https://host//"] {
            assert!(plgd.is(spelling) && !plgd.is_nearly(spelling), "{spelling}");
        }
        for other in [
            "http://host",
            "https://host.example",
            "https://host/a",
            "https://HOST",
            "",
        ] {
            assert!(
                !plgd.is(other) && !plgd.is_nearly(other) && !exact.is_nearly(other),
                "{other}"
            );
        }
        assert_eq!(
            (exact.name(), plgd.name()),
            ("https://host/", "https://host")
        );
        assert_eq!(exact.spellings(), ["https://host/"]);
        assert_eq!(plgd.spellings(), ["https://host", "https://host/"]);
        let odd = IssuerName::as_plgd_compares("https://host//a");
        assert_eq!(
            odd.spellings(),
            ["https://host/a", "https://host//a", "https://host/a/"]
        );
    }

    #[test]
    fn the_place_of_a_tenant_is_filled_in() {
        let issuer = IssuerName::exact("https://login.example/blue/v2.0");
        for (written, tenant, expected) in [
            ("https://login.example/{tenantid}/v2.0", Some("blue"), true),
            (
                "https://login.example/{tenantid}/v2.0",
                Some("green"),
                false,
            ),
            ("https://login.example/{tenantid}/v2.0", None, false),
            ("https://login.example/blue/v2.0", Some("blue"), true),
            ("https://login.example/blue/v2.0", None, true),
            ("https://login.example/green/v2.0", Some("blue"), false),
        ] {
            assert_eq!(issuer.is_in(written, tenant), expected, "{written}");
        }
    }

    proptest! {
        #[test]
        fn canonicalization_is_idempotent(text in "(https?://)?[a-z:/]{0,20}") {
            let once = canonical(&text).into_owned();
            prop_assert_eq!(canonical(&once), once.clone());
            // Behind `://` there is room for more slashes that change nothing.
            if !once.ends_with("://") && !once.is_empty() && !once.ends_with(':') {
                let more = format!("{once}//");
                prop_assert_eq!(canonical(&more), once);
            }
        }
    }
}
