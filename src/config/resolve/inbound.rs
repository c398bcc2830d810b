//! Authorities and inbound listeners.

use std::time::Duration;

use http::HeaderName;

use super::{Resolver, is_open, revocation, token_size};
use crate::config::address::IssuerUrl;
use crate::config::name::{ClaimName, Scope};
use crate::config::tree::KeyPath;
use crate::config::{IssuerRole, files, raw};
use crate::domain::host::is_beyond_dns;
use crate::domain::issuer_name::IssuerName;
use crate::domain::letter_case::Folding;
use crate::domain::oauth::{DEFAULT_TOKEN_SIZE, PLGD_TOKEN_SIZE};
use crate::domain::path::{NormalPath, Ordinary};
use crate::domain::scope::ScopeSet;
use crate::endpoints::oauth::{self, Placement};
use crate::jose::Algorithm;
use crate::limits;
use crate::proxy::inbound;
use crate::verifier::rules::{PathCase, Rules};
use crate::verifier::{
    self, Access, Audiences, AuthorityConfig, ClaimNeed, KeySource, Needs, Profile, RevocationKind,
    RuleConfig, rules,
};

/// What keys may verify when the configuration does not say.
const ALL_ALGORITHMS: [Algorithm; 9] = [
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
];
const MAX_CLOCK_SKEW: Duration = Duration::from_mins(10);
/// Less could not be kept: authorities are asked at most once a minute while all is well.
const MIN_STALE: Duration = Duration::from_mins(1);
const MAX_STALE: Duration = Duration::from_hours(366 * 24);

/// Resolves a member of `authorities`.
pub(super) fn resolve_authority(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    name: &str,
    raw: raw::Authority,
) -> Option<AuthorityConfig> {
    resolver.duration(
        &path.key("clockSkew"),
        raw.clock_skew,
        Duration::ZERO,
        MAX_CLOCK_SKEW,
    );
    resolver.duration(&path.key("maxStale"), raw.max_stale, MIN_STALE, MAX_STALE);
    let keys = key_source(resolver, path, &raw);
    raw.ca_file
        .iter()
        .for_each(|file| resolver.fixed(&path.key("caFile"), file));
    let ca_pem = resolver.certificates(&path.key("caFile"), raw.ca_file.as_ref());
    let timeouts = resolver.fetch_timeouts(&path.key("timeouts"), raw.timeouts);
    let algorithms = raw.algorithms.map_or_else(
        || ALL_ALGORITHMS.to_vec(),
        |algorithms| algorithms.into_iter().map(Into::into).collect(),
    );
    let profile = raw.profile;
    let max_token_size = token_size::resolve(
        resolver,
        &path.key("maxTokenSize"),
        raw.max_token_size,
        if profile == Profile::Plgd {
            PLGD_TOKEN_SIZE
        } else {
            DEFAULT_TOKEN_SIZE
        },
    );
    let keys = keys?;
    let revocation = revocation::resolve(resolver, &path.key("revocation"), raw.revocation, &keys);
    let authority = AuthorityConfig {
        name: name.to_owned(),
        issuer: raw.issuer,
        keys,
        revocation,
        ca_pem: ca_pem?,
        timeouts,
        algorithms,
        clock_skew: raw.clock_skew.0,
        max_stale: raw.max_stale.0,
        client_id_claims: raw
            .client_id_claims
            .into_iter()
            .map(|name| name.0)
            .collect(),
        require_expiry: raw.require_expiry,
        profile,
        max_token_size,
    };
    check_tokens_without_end(resolver, path, &authority);
    Some(authority)
}

/// A token that never expires ends only when it is revoked: revocations must be checked, unless the
/// operator writes that they are not.
fn check_tokens_without_end(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    authority: &AuthorityConfig,
) {
    let is_named = matches!(authority.keys, KeySource::Url(_) | KeySource::File(_));
    let path = path.key("requireExpiry");
    match authority.revocation.kind {
        _ if authority.require_expiry => {}
        RevocationKind::None => {
            let message = "tokens without `exp` are accepted and, with `revocation: none`, not checked for revocation: a stolen one \
                           works until the authority withdraws the key that signed it";
            resolver.findings.warning(&path, message);
        }
        RevocationKind::Auto if is_named => {
            let message = "there is no place to ask whether a token without `exp` was revoked, because the metadata is not read: set \
                           `revocation`; `revocation: none` accepts such tokens without a check";
            resolver.findings.error(&path, message);
        }
        _ => {}
    }
}

fn key_source(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Authority,
) -> Option<KeySource> {
    let issuer_path = path.key("issuer");
    resolver.check_issuer(&issuer_path, &raw.issuer);
    if raw.issuer.is_empty() {
        resolver
            .findings
            .error(&issuer_path, "it must not be empty");
    }
    match (&raw.jwks_uri, &raw.jwks_file) {
        (Some(_), Some(_)) => {
            resolver.findings.error(
                &path.key("jwksFile"),
                "either `jwksUri` or `jwksFile`, not both",
            );
            None
        }
        (Some(url), None) => {
            warn_of_plain_http(resolver, &path.key("jwksUri"), &url.0);
            resolver.check_no_metadata(&path.key("jwksUri"), &url.0, "issuer");
            Some(KeySource::Url(url.0.clone()))
        }
        (None, Some(file)) => {
            let key = path.key("jwksFile");
            let set = resolver.file(&key, file, files::read_authority_keys)?;
            for left_out in set.left_out().iter().filter(|key| !key.is_meant) {
                resolver
                    .findings
                    .warning(&key, format!("a key is left out, {left_out}"));
            }
            if set.unread() > 0 {
                let message = format!(
                    "only the first 256 keys are read; {} further ones are not",
                    set.unread()
                );
                resolver.findings.warning(&key, message);
            }
            Some(KeySource::File(file.0.clone()))
        }
        (None, None) => own_or_discovery(resolver, &issuer_path, &raw.profile.issuer(&raw.issuer)),
    }
}

fn own_or_discovery(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    issuer: &IssuerName,
) -> Option<KeySource> {
    let own = resolver.own_issuer();
    if own.is_some_and(|own| issuer.is(own)) {
        return Some(KeySource::OwnIssuer);
    }
    if own.is_some_and(|own| issuer.is_nearly(own)) {
        let message = "differs from `issuer.url` by slashes only; issuers are compared exactly (unless `profile: plgd`), so this \
                       is not the sidecar's own issuer";
        resolver.findings.warning(path, message);
    }
    match issuer.written().parse::<IssuerUrl>() {
        Ok(url) => {
            warn_of_plain_http(resolver, path, url.url());
            Some(KeySource::Discovery)
        }
        Err(why) => {
            let message = format!(
                "cannot be used for discovery ({why}); name its keys with `jwksUri` or `jwksFile`"
            );
            resolver.findings.error(path, message);
            None
        }
    }
}

fn warn_of_plain_http(resolver: &mut Resolver<'_>, path: &KeyPath, url: &url::Url) {
    if is_open(url) {
        let message = "plain http to another machine: whoever is on the way can put keys of their own into the answer";
        resolver.findings.warning(path, message);
    }
}

impl Resolver<'_> {
    /// `issuer.url`. From the tree: an error elsewhere in the section `issuer` does not change
    /// which one is ours.
    pub(super) fn own_issuer(&self) -> Option<&str> {
        self.text(&KeyPath::root("issuer").key("url"))
    }

    /// The issuer of an authority, with the way in which others are compared with it; from the tree
    /// for the same reason.
    pub(super) fn issuer_of(&self, authority: &str) -> Option<IssuerName> {
        let authority = KeyPath::root("authorities").key(authority);
        let is_plgd = self.text(&authority.key("profile")) == Some("plgd");
        let profile = if is_plgd {
            Profile::Plgd
        } else {
            Profile::Standard
        };
        Some(profile.issuer(self.text(&authority.key("issuer"))?))
    }
}

/// Refuses two authorities whose issuers are one because slashes do not count, though they are
/// written differently.
pub(super) fn check_issuers(resolver: &mut Resolver<'_>, authorities: &[AuthorityConfig]) {
    for (i, authority) in authorities.iter().enumerate() {
        let name = authority.issuer_name();
        let earlier = authorities.iter().take(i);
        let same = earlier.filter(|earlier| earlier.issuer != authority.issuer);
        if let Some(same) = same
            .filter(|same| same.issuer_name().is(&authority.issuer) || name.is(&same.issuer))
            .map(|same| &same.name)
            .next()
        {
            let message = format!(
                "with `profile: plgd` slashes at the end do not count, so this is the issuer of the authority `{same}` too, and it is \
                 not clear which keys count: leave one of them out"
            );
            let path = KeyPath::root("authorities")
                .key(&authority.name)
                .key("issuer");
            resolver.findings.error(&path, message);
        }
    }
}

/// Resolves an item of `inbound`.
pub(super) fn resolve_listener(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::Inbound,
    authorities: &[AuthorityConfig],
    issuer: Option<&IssuerRole>,
) -> Option<inbound::Config> {
    if raw.issuer && resolver.tree.find(&KeyPath::root("issuer")).is_none() {
        resolver.findings.error(
            &path.key("issuer"),
            "there is no section `issuer` whose endpoints could be answered",
        );
    }
    let trusted: Vec<String> = raw.authorities.into_iter().map(|name| name.0).collect();
    check_authorities(resolver, &path.key("authorities"), &trusted, authorities);
    let audiences = audiences(resolver, &path.key("audiences"), raw.audiences);
    let headers_path = path.key("identityHeaders");
    let headers = raw
        .identity_headers
        .unwrap_or_else(|| raw::default_identity_headers(trusted.len()));
    let identity_headers = identity_headers(resolver, &headers_path, &headers);
    if trusted.len() > 1 && !identity_headers.iter().any(|(_, claim)| claim == "iss") {
        let message = "the service cannot tell whose user it sees: two authorities may each have a user of the same name; add a \
                       header for `iss`, such as `x-m2m-issuer: iss`";
        resolver.findings.warning(&headers_path, message);
    }
    let upstream = resolver.upstream(path, raw.upstream, raw.upstream_tls, raw.upstream_timeouts);
    let is_name = upstream
        .as_ref()
        .is_some_and(|upstream| !is_beyond_dns(&upstream.host));
    // Written as it is by default, it is meant.
    if is_name && raw.preserve_host && resolver.tree.find(&path.key("preserveHost")).is_none() {
        let message = "the service gets whatever `Host` the client sends; where one server has several virtual hosts, a client \
                       chooses among them: set `preserveHost: false` (or `true`, if there is one host only)";
        resolver.findings.warning(&path.key("upstream"), message);
    }
    let ordinary = Ordinary {
        encoded_slash: raw.encoded_slash == raw::AmbiguousCharacter::Keep,
        semicolon: raw.path_parameters == raw::AmbiguousCharacter::Keep,
        double_encoding: raw.double_encoding == raw::AmbiguousCharacter::Keep,
        non_utf8: raw.non_utf8 == raw::AmbiguousCharacter::Keep,
    };
    let endpoints = issuer
        .filter(|_| raw.issuer)
        .map(endpoints)
        .unwrap_or_default();
    let rules: Vec<Option<RuleConfig>> = raw
        .rules
        .into_iter()
        .enumerate()
        .map(|(i, rule)| {
            resolve_rule(
                resolver,
                &path.key("rules").index(i),
                rule,
                &endpoints,
                ordinary,
            )
        })
        .collect();
    let rules = rules.into_iter().collect::<Option<Vec<_>>>();
    check_rules(
        resolver,
        &path.key("rules"),
        rules.as_deref().unwrap_or_default(),
        raw.path_case,
    );
    let limits = raw
        .limits
        .map(|limits| resolve_limits(resolver, &path.key("limits"), &limits));
    let sizes = authorities
        .iter()
        .filter(|authority| trusted.contains(&authority.name));
    let max_head = token_size::max_head(sizes.map(|authority| authority.max_token_size));
    let max_head = max_head.max(
        issuer
            .filter(|_| raw.issuer)
            .map_or(0, |role| role.max_head),
    );
    let pauses = (raw.downstream_timeouts.read, raw.downstream_timeouts.write);
    let client_timeouts = resolver.client_timeouts(path, raw.keep_alive, pauses);
    Some(inbound::Config {
        listen: raw.listen.0,
        client_timeouts,
        max_connections: resolver.max_connections(path, raw.max_connections),
        issuer: raw.issuer,
        upstream: upstream?,
        keep_authorization: raw.authorization == raw::Authorization::Keep,
        identity_headers: identity_headers
            .iter()
            .map(|(header, _)| header.clone())
            .collect(),
        preserve_host: raw.preserve_host,
        ordinary,
        trusted_proxies: raw
            .trusted_proxies
            .into_iter()
            .map(|network| network.0)
            .collect(),
        removed_headers: raw
            .remove_headers
            .into_iter()
            .map(|pattern| pattern.0)
            .collect(),
        max_body: raw.max_body.map(|size| size.0),
        max_head,
        limits,
        verifier: verifier::Config {
            authorities: trusted,
            audiences,
            verified_token_cache: raw.verified_token_cache,
            rules: rules?,
            path_case: raw.path_case,
            forwarded_claims: identity_headers
                .into_iter()
                .map(|(_, claim)| claim)
                .collect(),
            mode: raw.mode,
            cors_preflight: raw.cors_preflight,
        },
        name: raw.name.0,
    })
}

fn check_authorities(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    names: &[String],
    known: &[AuthorityConfig],
) {
    let mut issuers: Vec<&str> = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let path = path.index(i);
        resolver.reference(&path, name, "authorities", "authority");
        let Some(authority) = known.iter().find(|authority| authority.name == *name) else {
            continue;
        };
        if issuers.contains(&authority.issuer.as_str()) {
            let message =
                "another authority of this listener has the same issuer: whose keys would count?";
            resolver.findings.error(&path, message);
        }
        issuers.push(&authority.issuer);
    }
}

fn audiences(resolver: &mut Resolver<'_>, path: &KeyPath, raw: raw::Audiences) -> Audiences {
    match raw {
        raw::Audiences::Any(_) => Audiences::Any,
        raw::Audiences::OneOf(audiences) => {
            let audiences: Vec<String> = audiences.into_iter().map(|audience| audience.0).collect();
            resolver.check_audiences(path, &audiences);
            Audiences::OneOf(audiences)
        }
    }
}

type RawHeaders =
    std::collections::BTreeMap<crate::config::name::IdentityHeader, crate::config::name::ClaimName>;

fn identity_headers(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &RawHeaders,
) -> Vec<(HeaderName, String)> {
    // Upstreams that follow CGI read `-` and `_` as one, so two such names would be one header
    // there.
    let mut seen: Vec<String> = Vec::new();
    let mut headers = Vec::new();
    for (header, claim) in raw {
        let folded = header.as_str().to_ascii_lowercase().replace('_', "-");
        if seen.contains(&folded) {
            resolver.findings.error(
                &path.key(header.as_str()),
                "an upstream could not tell this header from another",
            );
        }
        seen.push(folded);
        resolver.check_identity(&path.key(header.as_str()), header.as_str(), &claim.0);
        headers.extend(header.to_name().map(|name| (name, claim.0.clone())));
    }
    headers
}

fn resolve_rule(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::Rule,
    endpoints: &[String],
    ordinary: Ordinary,
) -> Option<RuleConfig> {
    for (i, pattern) in raw.paths.iter().enumerate() {
        if let Err(why) = NormalPath::parse_with(&pattern.0, ordinary) {
            let cure = why
                .allowed_by()
                .map_or(String::new(), |key| format!("; `{key}: keep` allows it"));
            let message = format!(
                "no path matches it, because such paths are refused: {}{cure}",
                why.text()
            );
            resolver
                .findings
                .error(&path.key("paths").index(i), message);
        }
        if let Some(endpoint) = endpoints
            .iter()
            .find(|endpoint| covers(&pattern.0, endpoint))
        {
            let message = format!(
                "the issuer answers `{endpoint}` on this listener; the rule does not apply to it"
            );
            resolver
                .findings
                .warning(&path.key("paths").index(i), message);
        }
    }
    let access = match raw.access {
        Some(raw::Access::Public) => {
            let asked = [
                ("scopes", !raw.scopes.is_empty()),
                ("anyScope", raw.any_scope.is_some()),
                ("claims", !raw.claims.is_empty()),
            ];
            for (key, _) in asked.into_iter().filter(|(_, asked)| *asked) {
                let message = "a public rule asks for no token, so not for what is in it";
                resolver.findings.error(&path.key(key), message);
            }
            Access::Public
        }
        None => {
            let scopes = |scopes: Vec<Scope>| {
                ScopeSet::from_tokens(scopes.iter().map(|scope| &scope.0)).ok()
            };
            Access::Token(Needs {
                scopes: scopes(raw.scopes)?,
                any_scope: scopes(raw.any_scope.unwrap_or_default())?,
                claims: raw
                    .claims
                    .into_iter()
                    .map(|(name, values)| claim_need(name, values))
                    .collect(),
            })
        }
    };
    if raw
        .timeout
        .is_some_and(|timeout| timeout.0 < Duration::from_millis(1))
    {
        resolver
            .findings
            .error(&path.key("timeout"), "it must be at least 1ms");
    }
    let rule = RuleConfig {
        timeout: raw.timeout.map(|timeout| timeout.0),
        line: resolver.tree.position(path).line,
        paths: raw.paths.into_iter().map(|pattern| pattern.0).collect(),
        methods: raw
            .methods
            .into_iter()
            .flatten()
            .map(|method| method.0)
            .collect(),
        access,
    };
    resolver.check_rule(path, &rule);
    Some(rule)
}

fn claim_need(name: ClaimName, values: raw::ClaimValues) -> ClaimNeed {
    let text = |value: raw::Scalar| match value {
        raw::Scalar::Text(text) => text.0,
        raw::Scalar::Integer(number) => number.to_string(),
        raw::Scalar::Bool(value) => value.to_string(),
    };
    let values = match values {
        raw::ClaimValues::OneOf(values) => values.into_iter().map(text).collect(),
        raw::ClaimValues::Text(value) => vec![text(raw::Scalar::Text(value))],
        raw::ClaimValues::Integer(value) => vec![text(raw::Scalar::Integer(value))],
        raw::ClaimValues::Bool(value) => vec![text(raw::Scalar::Bool(value))],
    };
    ClaimNeed {
        name: name.0,
        values,
    }
}

fn check_rules(resolver: &mut Resolver<'_>, path: &KeyPath, rules: &[RuleConfig], case: PathCase) {
    if let Err(why) = Rules::compile(rules, case) {
        resolver.findings.error(path, why.to_string());
    }
    let exactly = rules::never_reached(rules, Folding::None);
    for (idle, by) in rules::never_reached(rules, case.widest()) {
        let is_by_case = !exactly.iter().any(|(exactly, _)| *exactly == idle);
        let cause = if is_by_case {
            "; only `pathCase: sensitive` tells paths apart by upper and lower case"
        } else {
            ""
        };
        let by: Vec<_> = by
            .iter()
            .map(|index| path.index(*index).to_string())
            .collect();
        let by = by.join(", ");
        let message = format!(
            "this rule never decides: all that it matches is matched before, by {by}{cause}"
        );
        resolver.findings.warning(&path.index(idle), message);
    }
    if case != PathCase::Unset {
        return;
    }
    for (strict, weaker) in rules::weaker_later(rules) {
        let weaker = path.index(weaker);
        let message = format!(
            "{weaker} is wider and asks for less; if the service ignores upper and lower case, a path such as `/Admin` for \
             `/admin` would bypass this rule, so such a path is refused (400): set `pathCase: insensitive`, or `pathCase: \
             sensitive` if the service tells them apart"
        );
        resolver.findings.warning(&path.index(strict), message);
    }
}

fn resolve_limits(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: &raw::Limits,
) -> limits::Config {
    if raw.requests_per_second.is_none() {
        if raw.burst.is_some() {
            resolver
                .findings
                .error(&path.key("burst"), "it needs `requestsPerSecond` beside it");
        } else if raw.concurrent.is_none() {
            resolver.findings.error(
                path,
                "it limits nothing without `requestsPerSecond` or `concurrent`",
            );
        }
    }
    let rate = raw.requests_per_second.map(|per_second| limits::Rate {
        per_second,
        burst: raw.burst.unwrap_or(per_second),
    });
    limits::Config {
        rate,
        concurrent: raw.concurrent,
        per: raw.per,
    }
}

/// The paths that the issuer answers on an inbound listener.
fn endpoints(role: &IssuerRole) -> Vec<String> {
    oauth::paths_below(
        role.issuer.url.base_path(),
        role.issuer.profile.policy(),
        if role.issuer.root_paths {
            Placement::BasePathAndRoot
        } else {
            Placement::BasePath
        },
    )
}

/// Whether a pattern matches a path that is in normal form.
fn covers(pattern: &str, path: &str) -> bool {
    NormalPath::parse(path)
        .is_ok_and(|path| rules::pattern_matches(pattern, &path).unwrap_or(false))
}
