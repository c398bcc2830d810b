//! Values that have the right form but cannot work.

use url::Url;

use super::resolver::Resolver;
use crate::config::tree::KeyPath;
use crate::verifier::{Access, RuleConfig};

/// The paths of metadata.
const OPENID: &str = "/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server";
/// The usual last segments of key sets and token endpoints.
const ENDPOINTS: [&str; 6] = [
    "/jwks.json",
    "/jwks",
    "/certs",
    "/keys",
    "/token",
    "/introspect",
];
/// plgd's scopes have these names.
const OF_PLGD: [&str; 2] = ["r:*", "w:*"];
/// Common claims, which are hardly meant as names of headers.
const CLAIMS: [&str; 12] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "scope",
    "scp",
    "client_id",
    "azp",
    "jti",
    "email",
    "roles",
    "groups",
];

/// The issuer whose metadata has this URL; `None`: it is not a URL of metadata.
fn issuer_of_metadata(url: &str) -> Option<String> {
    if let Some((issuer, _)) = url.split_once(OPENID) {
        return Some(issuer.to_owned());
    }
    let (origin, path) = url.split_once(OAUTH)?;
    Some(format!("{origin}{path}"))
}

impl Resolver<'_> {
    /// Checks an issuer, from which the URL of the metadata and the `iss` of tokens follow.
    pub fn check_issuer(&mut self, path: &KeyPath, issuer: &str) {
        if let Some(meant) = issuer_of_metadata(issuer) {
            let meant = self.shown(path, &meant);
            let message = format!(
                "this is the URL of the metadata: use its member `issuer` instead, probably \
                 `{meant}`"
            );
            return self.error(path, message);
        }
        let path_of = Url::parse(issuer).map(|url| url.path().trim_end_matches('/').to_owned());
        if path_of.is_ok_and(|path| ENDPOINTS.iter().any(|end| path.ends_with(end))) {
            let message = "it looks like the URL of a key set or an endpoint: use the `iss` of the \
                           tokens instead";
            self.warn(path, message);
        }
    }

    /// Checks the URL of a key set or an endpoint; `instead` is the key for an issuer.
    pub fn check_no_metadata(&mut self, path: &KeyPath, url: &Url, instead: &str) {
        if let Some(issuer) = issuer_of_metadata(url.as_str()) {
            let issuer = self.shown(path, &issuer);
            let message = format!(
                "this is the URL of the metadata: remove this key and set `{instead}: {issuer}`"
            );
            self.error(path, message);
        }
    }

    /// Checks the accepted audiences.
    pub fn check_audiences(&mut self, path: &KeyPath, audiences: &[String]) {
        for (i, audience) in audiences.iter().enumerate() {
            let path = path.index(i);
            if audience == "*" || audience == "**" || audience.eq_ignore_ascii_case("any") {
                let shown = self.shown(&path, audience);
                let message = format!(
                    "in a list, `{shown}` is an audience of that name: write `audiences: any` to \
                     accept every audience"
                );
                self.error(&path, message);
            } else {
                self.check_wildcard(&path, audience, "an audience");
            }
        }
    }

    /// Warns of an asterisk in a text that is compared exactly.
    fn check_wildcard(&mut self, path: &KeyPath, text: &str, what: &str) {
        if text.contains('*') {
            self.warn(
                path,
                format!("{what} is compared exactly: `*` is not a wildcard here"),
            );
        }
    }

    /// Checks that a header and its claim are not swapped.
    pub fn check_identity(&mut self, path: &KeyPath, header: &str, claim: &str) {
        let header = header.to_ascii_lowercase();
        let header_is_claim = CLAIMS.contains(&header.as_str());
        let claim_is_header =
            claim.to_ascii_lowercase().starts_with("x-") && !header.starts_with("x-");
        if (claim_is_header && !header.contains('-')) || (header_is_claim && claim.contains('-')) {
            let message = format!("header and claim are swapped: write `{claim}: {header}`");
            self.error(path, message);
        } else if claim_is_header || (header_is_claim && !CLAIMS.contains(&claim)) {
            let message = format!(
                "header and claim may be swapped: the claim `{claim}` fills the header `{header}`, \
                 because the header comes first"
            );
            self.warn(path, message);
        }
    }

    /// Warns of a prefix without a space: YAML removes a space at the end unless it is quoted.
    pub fn check_prefix(&mut self, path: &KeyPath, prefix: &str) {
        if prefix.ends_with(|c: char| c.is_ascii_alphabetic()) {
            let message = "the token follows without a space: put prefix and space into quotes, \
                           such as `\"Bearer \"`";
            self.warn(path, message);
        }
    }

    /// Warns of a rule that no request or token can satisfy.
    pub fn check_rule(&mut self, path: &KeyPath, rule: &RuleConfig) {
        for (i, method) in rule.methods.iter().enumerate() {
            if matches!(method.as_str(), "TRACE" | "CONNECT") {
                let message = format!("listeners refuse {method} with 405 before they check rules");
                self.warn(&path.key("methods").index(i), message);
            }
        }
        let Access::Token(needs) = &rule.access else {
            return;
        };
        for (key, scopes) in [("scopes", &needs.scopes), ("anyScope", &needs.any_scope)] {
            for scope in scopes.iter().filter(|scope| !OF_PLGD.contains(scope)) {
                self.check_wildcard(&path.key(key), scope, "a scope");
            }
        }
        for claim in &needs.claims {
            let path = path.key("claims").key(&claim.name);
            for value in &claim.values {
                self.check_wildcard(&path, value, "the value of a claim");
            }
        }
    }
}
