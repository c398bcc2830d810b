//! Accepted configurations and their resolved values.

use std::path::Path;
use std::time::Duration;

use super::{config, small, small_but};
use crate::config::{IssuerRole, Shutdown};
use crate::domain::clock::UnixTime;
use crate::domain::listen::Listen;
use crate::domain::oauth::GrantType;
use crate::domain::path::Ordinary;
use crate::domain::secret::ExposeSecret;
use crate::domain::settings::Authorization;
use crate::http_client::FetchTimeouts;
use crate::issuer;
use crate::issuer::client::ExpectedSecret;
use crate::jose::Algorithm;
use crate::limits::{self, Per, Rate};
use crate::proxy::connection::ClientTimeouts;
use crate::proxy::outbound::{Kind, TokenRefusal};
use crate::store;
use crate::token_source::{Authentication, TokenEndpoint};
use crate::verifier::rules::PathCase;
use crate::verifier::{Access, Audiences, CorsPreflight, KeySource, Mode, Profile};

pub(super) const FULL: &str = r#"
log: { level: debug, encoding: json }
threads: 2
shutdown: { delay: 5s, gracePeriod: 1m }
stateDir: /var/lib/m2m
store: { url: "sqlite::memory:", encryptionKeyFile: "${DIR}/store-key" }
probes: { listen: 0.0.0.0:9900, hosts: [metrics.example] }
issuer:
  url: http://127.0.0.1:8080/m2m
  listen: localhost:8080
  profile: standard
  ownerClaim: tenant_owner
  accessTokenLifetime: 30m
  signing: { algorithm: RS256, rotateEvery: 7d }
  clients:
    - id: meter
      secretFile: ${DIR}/secret
      owner: "7"
      accessTokenLifetime: 2d
      allowedGrantTypes: [client_credentials, refresh_token]
      allowIntrospection: true
      allowedAudiences: [https://things.example]
      allowedScopes: [things:read, things:write]
      insertTokenClaims: { tenant: green, level: 3, tags: [a, null] }
      disabled: true
      expiresAt: 2027-01-01T00:00:00Z
authorities:
  own: { issuer: "http://127.0.0.1:8080/m2m" }
  staff:
    issuer: https://id.example/staff
    caFile: ${DIR}/ca.pem
    algorithms: [ES256, EdDSA]
    clockSkew: 10s
    maxStale: 1h
  direct: { issuer: urn:direct, jwksUri: "https://id.example/keys" }
  file: { issuer: urn:file, jwksFile: "${DIR}/keys.json" }
inbound:
  - name: things
    listen: 127.0.0.1:8443
    issuer: true
    upstream: https://[::1]:9090
    upstreamTls: { caFile: "${DIR}/ca.pem", serverName: things.internal }
    authorities: [own, staff, direct, file]
    audiences: [https://things.example]
    verifiedTokenCache: 5
    authorization: strip
    identityHeaders: { X-Subject: sub }
    preserveHost: false
    pathCase: insensitive
    encodedSlash: keep
    pathParameters: keep
    doubleEncoding: keep
    nonUtf8: keep
    trustedProxies: [10.0.0.0/8, "::1"]
    removeHeaders: [X-Tenant, "X-Auth-*"]
    maxBody: 1MiB
    upstreamTimeouts: { connect: 500ms }
    downstreamTimeouts: { read: 5s }
    keepAlive: 2m
    rules:
      - { paths: [/healthz], methods: [GET], access: public }
      - { paths: ["/things/**", "/x/*"], scopes: ["things:read"] }
credentials:
  hub:
    authority: https://hub.example/oauth
    clientID: meter
    clientSecretFile: ${DIR}/secret
    authMethod: client_secret_post
    scopes: [things:read]
    audiences: [https://things.example]
    resource: [https://things.example/]
    extraParameters: { tenant: green }
    refreshAt: 60%
    prefetch: true
  other: { tokenUrl: "http://127.0.0.1:1/token", clientID: meter, clientSecretFile: "${DIR}/secret" }
outbound:
  - name: hub
    listen: 0.0.0.0:9000
    upstream: https://hub.example
    upstreamTls: { caFile: "${DIR}/ca.pem" }
    credential: hub
    header: X-Token
    prefix: "Token "
    overwrite: false
    preserveHost: true
    mapLocation: false
    forwardedHeaders: true
    hosts: [hub, "hub:9000"]
    allowedOrigins: ["https://app.example", "http://127.0.0.1:3000"]
    requireHeader: "X-Sidecar: 1"
    allowRemote: true
    upstreamTimeouts: { connect: 1s, read: 2s, write: 3s }
    downstreamTimeouts: { write: 1h }
"#;

#[test]
fn every_key_is_resolved() {
    let config = config(FULL);
    assert_eq!(config.log.level, tracing::Level::DEBUG);
    assert_eq!(config.log.encoding, crate::domain::settings::Encoding::Json);
    assert_eq!(config.threads, 2);
    let shutdown = Shutdown {
        delay: Duration::from_secs(5),
        grace_period: Duration::from_secs(60),
    };
    assert_eq!(config.shutdown, shutdown);
    assert_eq!(config.state_dir, Path::new("/var/lib/m2m"));
    assert_eq!(config.store, store::Config::SqliteMemory);
    assert_eq!(
        config.probes.map(|probes| probes.listen),
        Some(Listen::At("0.0.0.0:9900".parse().unwrap()))
    );
    assert_eq!(config.metrics_hosts, ["metrics.example"]);
}

#[test]
fn client_timeouts_are_resolved() {
    let config = config(FULL);
    let seconds = |keep_alive, read, write| {
        let [keep_alive, read, write] = [keep_alive, read, write].map(Duration::from_secs);
        ClientTimeouts {
            keep_alive,
            read,
            write,
        }
    };
    assert_eq!(config.inbound[0].client_timeouts, seconds(120, 5, 30));
    assert_eq!(
        config.outbound[0].client_timeouts,
        seconds(75, 600, 3600),
        "programs may be slow"
    );
    assert_eq!(config.issuer.unwrap().keep_alive, Duration::from_secs(75));
}

#[test]
fn the_issuer_is_resolved() {
    let IssuerRole {
        listen,
        issuer,
        authorities,
        ..
    } = config(FULL).issuer.unwrap();
    assert_eq!(
        (issuer.profile, &authorities[..]),
        (issuer::Profile::Standard, &["self".to_owned()][..])
    );
    assert!(issuer.clients[0].allow_introspection);
    assert_eq!(listen, Some(Listen::Localhost(8080)));
    assert_eq!(issuer.url.as_str(), "http://127.0.0.1:8080/m2m");
    assert!(!issuer.root_paths);
    assert_eq!(issuer.owner_claim, "tenant_owner");
    assert_eq!(issuer.access_token_lifetime, Duration::from_secs(1800));
    assert_eq!(issuer.algorithm, Algorithm::RS256);
    assert!(issuer.private_key.is_none());
    assert_eq!(issuer.rotate_every, Some(Duration::from_secs(7 * 86_400)));
    assert!(issuer.encryption_key.is_some());
    let client = &issuer.clients[0];
    assert_eq!(client.id, "meter");
    let ExpectedSecret::Plain(secret) = &client.secrets[0].expected else {
        panic!("as written")
    };
    assert_eq!(secret.expose_secret(), "0123456789abcdef-secret");
    assert_eq!(client.owner.as_deref(), Some("7"));
    assert_eq!(
        client.access_token_lifetime,
        Some(Duration::from_secs(172_800))
    );
    assert_eq!(
        client.allowed_grant_types,
        [GrantType::ClientCredentials, GrantType::RefreshToken]
    );
    assert_eq!(client.allowed_audiences, ["https://things.example"]);
    assert_eq!(
        client.allowed_scopes.to_string(),
        "things:read things:write"
    );
    let claims = serde_json::Value::Object(client.insert_token_claims.clone());
    assert_eq!(
        claims,
        serde_json::json!({ "tenant": "green", "level": 3, "tags": ["a", null] })
    );
    assert!(client.disabled);
    assert_eq!(client.expires_at, Some(UnixTime(1_798_761_600)));
}

#[test]
fn authorities_and_inbound_listeners_are_resolved() {
    let config = config(FULL);
    let authority = |name: &str| config.authorities.iter().find(|a| a.name == name).unwrap();
    assert_eq!(authority("own").keys, KeySource::OwnIssuer);
    assert_eq!(authority("own").algorithms.len(), 9);
    assert_eq!(authority("own").clock_skew, Duration::from_secs(60));
    assert_eq!(authority("own").max_stale, Duration::from_secs(86_400));
    assert_eq!(authority("staff").keys, KeySource::Discovery);
    assert!(authority("staff").ca_pem.is_some());
    assert_eq!(
        authority("staff").algorithms,
        [Algorithm::ES256, Algorithm::EdDSA]
    );
    assert_eq!(
        authority("direct").keys,
        KeySource::Url("https://id.example/keys".parse().unwrap())
    );
    assert!(
        matches!(&authority("file").keys, KeySource::File(path) if path.ends_with("keys.json"))
    );

    let inbound = &config.inbound[0];
    assert_eq!(inbound.name, "things");
    let settings = inbound.settings;
    assert!(settings.issuer && !settings.preserve_host);
    assert_eq!(settings.authorization, Authorization::Strip);
    assert_eq!(
        (
            inbound.upstreams[0].host.as_str(),
            inbound.upstreams[0].port,
            inbound.upstreams[0].tls
        ),
        ("::1", 9090, true)
    );
    assert_eq!(inbound.upstreams[0].server_name, "things.internal");
    assert!(inbound.upstreams[0].ca_file.is_some());
    assert_eq!(
        inbound.upstreams[0].timeouts.connect,
        Duration::from_millis(500)
    );
    assert_eq!(inbound.upstreams[0].timeouts.read, Duration::from_secs(60));
    assert_eq!(
        inbound.identity_headers,
        [http::HeaderName::from_static("x-subject")]
    );
    assert_eq!(inbound.verifier.forwarded_claims, ["sub"]);
    assert_eq!(inbound.max_body, Some(1 << 20));
    assert_eq!(inbound.ordinary, Ordinary::ALL);
    assert_eq!(inbound.verifier.path_case, PathCase::Insensitive);
    assert_eq!(inbound.removed_headers, ["X-Tenant", "X-Auth-*"]);
    assert_eq!(
        inbound.trusted_proxies,
        ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]
    );
    assert_eq!(
        inbound.verifier.authorities,
        ["own", "staff", "direct", "file"]
    );
    assert_eq!(
        inbound.verifier.audiences,
        Audiences::OneOf(vec!["https://things.example".to_owned()])
    );
    assert_eq!(inbound.verifier.verified_token_cache, 5);
    let [public, rule] = inbound.verifier.rules.as_slice() else {
        panic!()
    };
    assert_eq!(
        (public.methods.as_slice(), &public.access),
        (["GET".to_owned()].as_slice(), &Access::Public)
    );
    assert_eq!(rule.paths, ["/things/**", "/x/*"]);
    assert!(
        matches!(&rule.access, Access::Token(needs) if needs.scopes.to_string() == "things:read")
    );
}

#[test]
fn rules_and_limits_are_resolved() {
    let listener = |keys: &str, rules: &str| {
        let text = small_but("      - paths: [\"/**\"]\n", rules);
        config(&text.replace(
            "    audiences: any\n",
            &format!("    audiences: any\n{keys}"),
        ))
        .inbound
        .remove(0)
    };
    let rules = "      - paths: [/a]\n        anyScope: [x, y]\n        claims: { t: [blue, 7, \
        true], o: one, n: -3, b: false, \
                 v: \"${THREADS}\" }\n      - { paths: [/b] }\n";
    let inbound = listener("    mode: shadow\n    corsPreflight: pass\n", rules);
    assert_eq!(
        (inbound.verifier.mode, inbound.limits),
        (Mode::Shadow, None)
    );
    assert_eq!(inbound.verifier.cors_preflight, CorsPreflight::Pass);
    let [rule, other] = inbound.verifier.rules.as_slice() else {
        panic!()
    };
    assert_eq!(other.line, rule.line + 3);
    let Access::Token(needs) = &rule.access else {
        panic!()
    };
    assert_eq!(
        (
            needs.scopes.is_empty(),
            needs.any_scope.to_string().as_str()
        ),
        (true, "x y")
    );
    let claims: Vec<_> = needs
        .claims
        .iter()
        .map(|need| format!("{}={}", need.name, need.values.join("|")))
        .collect();
    assert_eq!(claims, ["b=false", "n=-3", "o=one", "t=blue|7|true", "v=3"]);

    let limits = |text: &str| {
        listener(&format!("    limits: {text}\n"), rules)
            .limits
            .unwrap()
    };
    let rate = |per_second, burst| Some(Rate { per_second, burst });
    for (text, expected) in [
        (
            "{ requestsPerSecond: 9 }",
            limits::Config {
                rate: rate(9, 9),
                concurrent: None,
                per: Per::Client,
            },
        ),
        (
            "{ requestsPerSecond: 9, burst: 1, concurrent: 4, per: sub }",
            limits::Config {
                rate: rate(9, 1),
                concurrent: Some(4),
                per: Per::Subject,
            },
        ),
        (
            "{ concurrent: 4, per: listener }",
            limits::Config {
                rate: None,
                concurrent: Some(4),
                per: Per::Listener,
            },
        ),
        (
            "{ concurrent: 4, per: address }",
            limits::Config {
                rate: None,
                concurrent: Some(4),
                per: Per::Address,
            },
        ),
    ] {
        assert_eq!(limits(text), expected, "{text}");
    }
}

#[test]
fn credentials_and_outbound_listeners_are_resolved() {
    let config = config(FULL);
    let [hub, other] = config.credentials.as_slice() else {
        panic!()
    };
    assert!(
        matches!(&hub.endpoint, TokenEndpoint::Discovery(url) if url.as_str() == "https://hub.example/oauth")
    );
    assert!(
        matches!(&other.endpoint, TokenEndpoint::Url(url) if url.as_str() == "http://127.0.0.1:1/token")
    );
    assert!(matches!(
        &hub.authentication,
        Authentication::SecretPost { .. }
    ));
    assert_eq!(hub.resources, ["https://things.example/"]);
    assert_eq!(
        hub.extra_parameters,
        [("tenant".to_owned(), "green".to_owned())]
    );
    assert!((hub.refresh_at - 0.6).abs() < 1e-9 && (other.refresh_at - 0.75).abs() < 1e-9);
    assert!(hub.prefetch && !other.prefetch);
    let outbound = &config.outbound[0];
    let attach = &outbound.attach;
    assert_eq!(
        (attach.header.as_str(), attach.prefix.as_str()),
        ("x-token", "Token ")
    );
    assert!(!outbound.settings.overwrite && attach.retry_on.len() == 1);
    let Kind::Reverse(reverse) = &outbound.kind else {
        panic!()
    };
    assert!(reverse.preserve_host && !reverse.map_location && outbound.settings.forwarded_headers);
    assert_eq!(reverse.hosts, ["hub", "hub:9000"]);
    let origins =
        ["https://app.example", "http://127.0.0.1:3000"].map(|origin| origin.parse().unwrap());
    assert_eq!(outbound.pages.allowed_origins, origins);
    let required = outbound.pages.require_header.as_ref().unwrap();
    assert_eq!(required.name, "x-sidecar");
    assert_eq!(required.value.as_ref().unwrap(), "1");
    let upstream = &reverse.target.upstream;
    assert_eq!(
        (upstream.host.as_str(), upstream.port),
        ("hub.example", 443)
    );
    assert_eq!(upstream.server_name, "hub.example");
    assert_eq!(upstream.timeouts.write, Duration::from_secs(3));
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = config(&small());
    assert_eq!(
        (config.log.level, config.log.encoding),
        (
            tracing::Level::INFO,
            crate::domain::settings::Encoding::Text
        )
    );
    assert_eq!((config.threads, config.probes), (0, None));
    assert_eq!(
        config.shutdown,
        Shutdown {
            delay: Duration::ZERO,
            grace_period: Duration::from_secs(30)
        }
    );
    assert_eq!(config.state_dir, Path::new("./data"));
    assert_eq!(
        config.store,
        store::Config::SqliteFile("./data/m2m.db".into())
    );
    let issuer = config.issuer.unwrap().issuer;
    assert_eq!(
        (issuer.owner_claim.as_str(), issuer.algorithm),
        ("owner", Algorithm::ES256)
    );
    assert_eq!(issuer.access_token_lifetime, Duration::from_secs(3600));
    assert!(issuer.root_paths && issuer.clients.is_empty());
    let authority = &config.authorities[0];
    assert!(authority.require_expiry && authority.profile == Profile::Standard);
    let inbound = &config.inbound[0];
    assert!(
        !inbound.settings.issuer
            && inbound.settings.authorization == Authorization::Keep
            && inbound.settings.preserve_host
            && inbound.max_body.is_none()
    );
    assert_eq!(
        (inbound.ordinary, inbound.trusted_proxies.len()),
        (Ordinary::default(), 0)
    );
    assert_eq!(inbound.verifier.verified_token_cache, 10_000);
    assert_eq!(inbound.verifier.audiences, Audiences::Any);
    assert!(inbound.verifier.rules[0].methods.is_empty());
    let headers: Vec<_> = inbound
        .identity_headers
        .iter()
        .zip(&inbound.verifier.forwarded_claims)
        .map(|(h, c)| (h.as_str(), c.as_str()))
        .collect();
    assert_eq!(
        headers,
        [
            ("x-m2m-client-id", "client_id"),
            ("x-m2m-scope", "scope"),
            ("x-m2m-subject", "sub")
        ]
    );
    let timeouts = &inbound.upstreams[0].timeouts;
    assert_eq!(
        (
            timeouts.connect.as_secs(),
            timeouts.read.as_secs(),
            timeouts.write.as_secs()
        ),
        (2, 60, 30)
    );
    let outbound = &config.outbound[0];
    let attach = &outbound.attach;
    assert_eq!(
        (attach.header.as_str(), attach.prefix.as_str()),
        ("authorization", "Bearer ")
    );
    assert!(outbound.settings.overwrite);
    assert_eq!(
        attach.retry_on,
        [TokenRefusal {
            status: 401,
            error: None
        }]
    );
    let Kind::Reverse(reverse) = &outbound.kind else {
        panic!()
    };
    assert!(!reverse.preserve_host && reverse.hosts.is_empty() && reverse.map_location);
    assert_eq!(reverse.target.upstream.timeouts.idle.as_secs(), 25);
    let credential = &config.credentials[0];
    assert!(matches!(
        credential.authentication,
        Authentication::SecretBasic { .. }
    ));
    assert!(!credential.local_api && credential.kept_at.is_none() && credential.rotation.is_none());
    let fetches = FetchTimeouts {
        connect: Duration::from_secs(3),
        total: Duration::from_secs(15),
    };
    assert_eq!(
        (credential.timeouts, authority.timeouts),
        (fetches, fetches)
    );
    assert!(config.local_api.is_none());
}
