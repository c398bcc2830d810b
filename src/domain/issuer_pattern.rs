//! Issuers of tenants, which differ in one part of their name.

/// The place of the tenant in a pattern.
pub const TENANT: &str = "{tenant}";

/// An issuer with a tenant in it, such as `https://login.example/{tenant}/v2.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerPattern {
    before: String,
    after: String,
}

impl IssuerPattern {
    /// Reads a text with exactly one `{tenant}`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.split_once(TENANT)?;
        let is_single = !after.contains(TENANT);
        is_single.then(|| Self {
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }

    /// The issuer of a tenant.
    #[must_use]
    pub fn issuer(&self, tenant: &str) -> String {
        format!("{}{tenant}{}", self.before, self.after)
    }

    /// The tenant of an issuer; `None` if the pattern does not match it.
    #[must_use]
    pub fn tenant<'i>(&self, issuer: &'i str) -> Option<&'i str> {
        let rest = issuer.strip_prefix(self.before.as_str())?;
        let tenant = rest.strip_suffix(self.after.as_str())?;
        (!tenant.is_empty() && !tenant.contains('/')).then_some(tenant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_one_tenant_and_finds_it() {
        let pattern = IssuerPattern::parse("https://login.example/{tenant}/v2.0").unwrap();
        let blue = pattern.issuer("blue");
        assert_eq!(blue, "https://login.example/blue/v2.0");
        for (issuer, tenant) in [
            (blue.as_str(), Some("blue")),
            ("https://login.example//v2.0", None),
            ("https://login.example/v2.0", None),
            ("https://login.example/a/b/v2.0", None),
            ("https://login.example/blue/v2.0/", None),
            ("http://login.example/blue/v2.0", None),
        ] {
            assert_eq!(pattern.tenant(issuer), tenant, "{issuer}");
        }
        for text in [
            "https://a",
            "https://a/{tenant}/{tenant}",
            "https://a/{Tenant}",
        ] {
            assert_eq!(IssuerPattern::parse(text), None, "{text}");
        }
    }
}
