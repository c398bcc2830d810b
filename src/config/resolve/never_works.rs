//! Values that have the right form and with which nothing can ever work.

use url::Url;

use super::Resolver;
use crate::config::tree::KeyPath;
use crate::verifier::{Access, RuleConfig};

/// Where issuers publish their metadata.
const OPENID: &str = "/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server";
/// How the paths of key sets and token endpoints usually end.
const ENDPOINTS: [&str; 6] = [
    "/jwks.json",
    "/jwks",
    "/certs",
    "/keys",
    "/token",
    "/introspect",
];
/// Claims that every token knows, and that nobody means as the name of a header.
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

/// The issuer whose metadata is at this URL; `None`: the URL is not that of metadata.
fn issuer_of_metadata(url: &str) -> Option<String> {
    if let Some((issuer, _)) = url.split_once(OPENID) {
        return Some(issuer.to_owned());
    }
    let (origin, path) = url.split_once(OAUTH)?;
    Some(format!("{origin}{path}"))
}

impl Resolver<'_> {
    /// Judges a value that should be an issuer. Both the metadata's own place and the `iss` of
    /// tokens are made from it.
    pub(super) fn check_issuer(&mut self, path: &KeyPath, issuer: &str) {
        if let Some(meant) = issuer_of_metadata(issuer) {
            let meant = self.shown(path, &meant);
            let message = format!(
                "this is the URL of the metadata; the issuer is the text that the metadata has as `issuer`, probably \
                 `{meant}`"
            );
            return self.findings.error(path, message);
        }
        let path_of = Url::parse(issuer).map(|url| url.path().trim_end_matches('/').to_owned());
        if path_of.is_ok_and(|path| ENDPOINTS.iter().any(|end| path.ends_with(end))) {
            let message = "it looks like the URL of a key set or of an endpoint; the issuer is the text that tokens have as \
                           `iss`";
            self.findings.warning(path, message);
        }
    }

    /// Judges a URL that should be a key set's or an endpoint's: `instead` is the key that takes an
    /// issuer.
    pub(super) fn check_no_metadata(&mut self, path: &KeyPath, url: &Url, instead: &str) {
        if let Some(issuer) = issuer_of_metadata(url.as_str()) {
            let issuer = self.shown(path, &issuer);
            let message = format!(
                "this is the URL of the metadata: leave this key out and set `{instead}: {issuer}`"
            );
            self.findings.error(path, message);
        }
    }

    /// Judges audiences that a token must have one of.
    pub(super) fn check_audiences(&mut self, path: &KeyPath, audiences: &[String]) {
        for (i, audience) in audiences.iter().enumerate() {
            let path = path.index(i);
            if audience == "*" || audience == "**" || audience.eq_ignore_ascii_case("any") {
                let shown = self.shown(&path, audience);
                let message = format!(
                    "in a list, `{shown}` would be an audience of that name; `audiences: any` accepts every one"
                );
                self.findings.error(&path, message);
            } else {
                self.check_wildcard(&path, audience, "an audience");
            }
        }
    }

    /// Warns of an asterisk where texts are compared as they stand.
    pub(super) fn check_wildcard(&mut self, path: &KeyPath, text: &str, what: &str) {
        if text.contains('*') {
            let message = format!("{what} is compared as it stands: `*` stands for no other text");
            self.findings.warning(path, message);
        }
    }

    /// Judges a header and the claim that it is filled from: they are easily written the wrong way
    /// round.
    pub(super) fn check_identity(&mut self, path: &KeyPath, header: &str, claim: &str) {
        let header = header.to_ascii_lowercase();
        let header_is_claim = CLAIMS.contains(&header.as_str());
        let claim_is_header =
            claim.to_ascii_lowercase().starts_with("x-") && !header.starts_with("x-");
        if (claim_is_header && !header.contains('-')) || (header_is_claim && claim.contains('-')) {
            let message =
                format!("header and claim are the wrong way round: write `{claim}: {header}`");
            self.findings.error(path, message);
        } else if claim_is_header || (header_is_claim && !CLAIMS.contains(&claim)) {
            let message = format!(
                "the header `{header}` is filled from the claim `{claim}`: is that the right way round? The header comes first"
            );
            self.findings.warning(path, message);
        }
    }

    /// Warns of a scheme that would run into the token: YAML drops a space at the end unless it is
    /// in quotes.
    pub(super) fn check_prefix(&mut self, path: &KeyPath, prefix: &str) {
        if prefix.ends_with(|c: char| c.is_ascii_alphabetic()) {
            let message = "the token follows without a space: put prefix and space into quotes, such as `\"Bearer \"`";
            self.findings.warning(path, message);
        }
    }

    /// Judges a rule that asks for what no request or token has.
    pub(super) fn check_rule(&mut self, path: &KeyPath, rule: &RuleConfig) {
        for (i, method) in rule.methods.iter().enumerate() {
            if matches!(method.as_str(), "TRACE" | "CONNECT") {
                let message =
                    format!("listeners refuse {method} with 405 before any rule is looked at");
                self.findings
                    .warning(&path.key("methods").index(i), message);
            }
        }
        if let Access::Token(needs) = &rule.access {
            for (key, scopes) in [("scopes", &needs.scopes), ("anyScope", &needs.any_scope)] {
                for scope in scopes.iter() {
                    self.check_wildcard(&path.key(key), scope, "a scope");
                }
            }
            for claim in &needs.claims {
                for value in &claim.values {
                    self.check_wildcard(
                        &path.key("claims").key(&claim.name),
                        value,
                        "the value of a claim",
                    );
                }
            }
        }
    }
}
