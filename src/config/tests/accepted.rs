//! What is accepted, and what arrives.

use std::path::Path;
use std::time::Duration;

use super::{
    Files, SMALL, assert_problem, config, problems, small, small_but, small_with, warnings,
};
use crate::config::{IssuerRole, Shutdown};
use crate::domain::clock::UnixTime;
use crate::domain::listen::Listen;
use crate::domain::oauth::GrantType;
use crate::domain::path::Ordinary;
use crate::domain::secret::ExposeSecret;
use crate::http_client::FetchTimeouts;
use crate::issuer;
use crate::issuer::client::ExpectedSecret;
use crate::jose::Algorithm;
use crate::limits::{self, Per, Rate};
use crate::proxy::connection::ClientTimeouts;
use crate::proxy::outbound::{Kind, TokenRefusal};
use crate::token_source::{Authentication, TokenEndpoint};
use crate::verifier::rules::PathCase;
use crate::verifier::{Access, Audiences, CorsPreflight, KeySource, Mode, Profile};
use crate::{store, telemetry};

const FULL: &str = r#"
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
fn every_key_arrives() {
    let config = config(FULL);
    assert_eq!(config.log.level, tracing::Level::DEBUG);
    assert_eq!(config.log.encoding, telemetry::Encoding::Json);
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
fn how_long_clients_are_waited_for_arrives() {
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
fn the_issuer_arrives() {
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
fn authorities_and_inbound_listeners_arrive() {
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
    assert!(inbound.issuer && !inbound.keep_authorization && !inbound.preserve_host);
    assert_eq!(
        (
            inbound.upstream.host.as_str(),
            inbound.upstream.port,
            inbound.upstream.tls
        ),
        ("::1", 9090, true)
    );
    assert_eq!(inbound.upstream.server_name, "things.internal");
    assert!(inbound.upstream.ca_pem.is_some());
    assert_eq!(
        inbound.upstream.timeouts.connect,
        Duration::from_millis(500)
    );
    assert_eq!(inbound.upstream.timeouts.read, Duration::from_secs(60));
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
fn what_rules_and_limits_say_arrives() {
    let listener = |keys: &str, rules: &str| {
        let text = small_but("      - paths: [\"/**\"]\n", rules);
        config(&text.replace(
            "    audiences: any\n",
            &format!("    audiences: any\n{keys}"),
        ))
        .inbound
        .remove(0)
    };
    let rules = "      - paths: [/a]\n        anyScope: [x, y]\n        claims: { t: [blue, 7, true], o: one, n: -3, b: false, \
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
fn credentials_and_outbound_listeners_arrive() {
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
    assert!(!attach.overwrite && attach.retry_on.len() == 1);
    let Kind::Reverse(reverse) = &outbound.kind else {
        panic!()
    };
    assert!(reverse.preserve_host && !reverse.map_location && outbound.forwarded_headers);
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
        (tracing::Level::INFO, telemetry::Encoding::Text)
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
        !inbound.issuer
            && inbound.keep_authorization
            && inbound.preserve_host
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
    let timeouts = &inbound.upstream.timeouts;
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
    assert!(attach.overwrite);
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

#[test]
fn an_inbound_listener_can_answer_for_the_issuer() {
    let text = small_but("  listen: 127.0.0.1:8080\n", "")
        .replace("audiences: any", "audiences: any\n    issuer: true");
    assert_eq!(config(&text).issuer.unwrap().listen, None);
    let text =
        small_but("audiences: any", "audiences: any\n    issuer: true").replacen(SMALL[0].1, "", 1);
    assert_problem(&text, "inbound[0].issuer", "no section `issuer`");
}

#[test]
fn an_authority_without_own_issuer_is_discovered() {
    let config = config(&small().replacen(SMALL[0].1, "", 1));
    assert_eq!(config.authorities[0].keys, KeySource::Discovery);
}

#[test]
fn root_paths_follow_the_issuer_url() {
    for (url, extra, expected) in [
        ("http://a", "", true),
        ("http://a/", "", true),
        ("http://a/m2m", "", false),
        ("http://a/m2m", "  rootPaths: true\n", true),
        ("http://a", "  rootPaths: false\n", false),
    ] {
        let text = format!("issuer:\n  url: {url}\n  listen: 127.0.0.1:0\n{extra}");
        assert_eq!(
            config(&text).issuer.unwrap().issuer.root_paths,
            expected,
            "{url} {extra}"
        );
    }
}

#[test]
fn port_0_can_be_taken_by_many() {
    let text = small()
        .replace(":8081", ":0")
        .replace(":8082", ":0")
        .replace("listen: 127.0.0.1:8080", "listen: 127.0.0.1:0");
    assert!(problems(&text).is_empty());
}

#[test]
fn keys_are_rotated_every_30_days_or_as_it_says_or_never() {
    let every = |lines: &str| {
        config(&small_with("issuer", lines))
            .issuer
            .unwrap()
            .issuer
            .rotate_every
    };
    assert_eq!(every(""), Some(Duration::from_secs(30 * 86_400)));
    assert_eq!(
        every("  signing: { algorithm: ES384 }\n"),
        Some(Duration::from_secs(30 * 86_400))
    );
    assert_eq!(
        every("  signing: { rotateEvery: 1h }\n"),
        Some(Duration::from_secs(3600))
    );
    assert_eq!(every("  signing: { rotateEvery: 0s }\n"), None);
}

#[test]
fn a_secret_beside_a_way_to_show_a_jwt_is_never_used() {
    let text = small_with(
        "issuer",
        "  clients: [{ id: a, secretFile: \"${DIR}/secret\", jwksUri: \"https://a.example/jwks\" }]\n",
    );
    let warnings = warnings(&text);
    assert!(
        warnings
            .iter()
            .any(|it| it.contains("clients[0].secretFile: never used")),
        "{warnings:?}"
    );
    let issuer = config(&text).issuer.unwrap().issuer;
    assert!(issuer.clients[0].secrets.is_empty());
}

#[test]
fn values_from_the_environment_may_be_numbers_and_truth_values() {
    let text = small_with("issuer", "threads: ${THREADS}\n")
        .replace("audiences: any", "audiences: any\n    preserveHost: ${YES}");
    let config = config(&text);
    assert_eq!(config.threads, 3);
    assert!(config.inbound[0].preserve_host);
    assert_problem(
        &small_with("issuer", "threads: \"${THREADS}\"\n"),
        "threads",
        "expected a whole number, found a text",
    );
    assert_problem(
        &small_with("issuer", "threads: ${NOWHERE}\n"),
        "threads",
        "environment variable `NOWHERE` is not set",
    );
}

#[test]
fn a_dump_of_a_configuration_holds_no_secret() {
    let dump = format!("{:?}", Files::new().parse(FULL).unwrap());
    assert!(!dump.contains("0123456789abcdef"), "{dump}");
}

#[test]
fn tokens_of_plgd_that_never_expire_are_accepted_when_somebody_can_end_them() {
    let text = small_but("self: { ", "self: { requireExpiry: false, profile: plgd, ");
    let authority = &config(&text).authorities[0];
    assert!(!authority.require_expiry && authority.profile == Profile::Plgd);
}

#[test]
fn an_owner_is_of_an_authority_where_the_users_of_several_are_trusted() {
    let others =
        "  one: { issuer: \"https://one.example\" }\n  two: { issuer: \"https://two.example\" }\n";
    let text = |trusted: &str, owner: &str| {
        let client =
            format!("  clients: [{{ id: a, secretFile: \"${{DIR}}/secret\", {owner} }}]\n");
        let issuer = format!("  profile: plgd\n  authorities: [{trusted}]\n{client}");
        small_with("issuer", &issuer).replace("inbound:\n", &format!("{others}inbound:\n"))
    };
    let role = config(&text("self, one, two", "owner: \"1\", ownerAuthority: two"))
        .issuer
        .unwrap();
    assert_eq!(
        role.issuer.user_issuers,
        ["https://one.example", "https://two.example"]
    );
    assert_eq!(
        role.issuer.clients[0].owner_issuer.as_deref(),
        Some("https://two.example")
    );
    assert_eq!(
        warnings(&text("self, one, two", "owner: \"1\", ownerAuthority: two")),
        [""; 0]
    );
    assert_eq!(warnings(&text("self, one", "owner: \"1\"")), [""; 0]);
    let warned = warnings(&text("self, one, two", "owner: \"1\""));
    assert!(
        warned.len() == 1 && warned[0].contains("`ownerAuthority`"),
        "{warned:?}"
    );
    for (owner, message) in [
        ("ownerAuthority: two", "needs `owner`"),
        ("owner: x, ownerAuthority: tow", "`two`"),
    ] {
        assert_problem(
            &text("self", owner),
            "issuer.clients[0].ownerAuthority",
            message,
        );
    }
}

#[test]
fn the_plgd_profile_has_its_own_defaults_and_tokens_without_end() {
    let text = small_with(
        "issuer",
        "  profile: plgd\n  accessTokenLifetime: 0s\n  deviceIDClaim: device\n  authorities: [self]\n",
    );
    let role = config(&text).issuer.unwrap();
    assert_eq!(
        (role.issuer.profile, role.issuer.owner_claim.as_str()),
        (issuer::Profile::Plgd, "sub")
    );
    assert_eq!(
        (
            role.issuer.access_token_lifetime,
            role.issuer.device_id_claim.as_str()
        ),
        (Duration::ZERO, "device")
    );
    assert_problem(
        &small_with("issuer", "  profile: plgd\n  authorities: [users]\n"),
        "issuer.authorities[0]",
        "there is no authority of this name",
    );
    assert_problem(
        &small_with("issuer", "  ownerClaim: sub\n"),
        "issuer.ownerClaim",
        "the issuer sets this claim to something else",
    );
}

#[test]
fn with_the_plgd_profile_slashes_do_not_count() {
    let authorities =
        "authorities:\n  users: { issuer: \"https://idp.example/\", profile: plgd }\n";
    let issuer = "  profile: plgd\n  authorities: [self, users]\n  clients: [{ id: a, secretFile: \"${DIR}/secret\", owner: x, \
                  ownerAuthority: users }]\n";
    let text = small_with("issuer", issuer)
        .replace(
            "{ issuer: \"http://127.0.0.1:8080\" }",
            "{ issuer: \"http://127.0.0.1:8080/\", profile: plgd }",
        )
        .replace("authorities:\n", authorities);
    let config = config(&text);
    let own = config
        .authorities
        .iter()
        .find(|authority| authority.name == "self")
        .unwrap();
    assert_eq!(own.keys, KeySource::OwnIssuer);
    let role = config.issuer.unwrap();
    assert_eq!(
        role.issuer.user_issuers,
        ["https://idp.example"],
        "our own is none of them"
    );
    assert_eq!(
        role.issuer.clients[0].owner_issuer.as_deref(),
        Some("https://idp.example")
    );
}
