//! Refused configurations: positions and messages.

use super::{ISSUER, assert_problem, problems, small, small_but, small_with};
use crate::config::{not_yet, parse};

#[test]
fn errors_of_every_section_are_reported_with_their_lines() {
    let text = "log: { level: loud }\n\
                threads: many\n\
                issuer:\n  url: ftp://a\n  listen: 127.0.0.1:8080\n  clints: []\n\
                inbound:\n  - name: in\n    listen: 127.0.0.1:1\n    upstream: \
                http://127.0.0.1:9/x\n    \
                authorities: [self]\n    rules:\n      - paths: [x]\n\
                outbound:\n  - name: out\n    listen: 0.0.0.0:2\n    upstream: \
                http://127.0.0.1:9\n    credential: hubb\n\
                credentials: {}\n";
    assert_eq!(
        problems(text),
        [
            "x.yaml:1:8: log.level: `loud` is not one of `error`, `warn`, `info`, `debug`, `trace`",
            "x.yaml:2:1: threads: expected a whole number, found a text",
            "x.yaml:4:3: issuer.url: not an http or https URL: it must begin with `http://` or \
             `https://`",
            "x.yaml:6:3: issuer.clints: unknown key; the nearest known key is `clients`",
            "x.yaml:8:5: inbound[0].audiences: this key is required",
            "x.yaml:10:5: inbound[0].upstream: not an upstream such as `http://127.0.0.1:8080`, \
             `h2c://127.0.0.1:8080` or `unix:/run/a.sock`: remove path \
             and query: requests keep their own",
            "x.yaml:13:17: inbound[0].rules[0].paths[0]: not a path pattern such as `/api/**`: a \
             pattern must begin with `/`",
            "x.yaml:16:5: outbound[0].listen: other machines can reach this address and use the \
             credential: listen on loopback, or set `allowRemote: true`",
            "x.yaml:18:5: outbound[0].credential: no credential is named `hubb`; `credentials` is \
             empty",
        ]
    );
}

#[test]
fn an_unknown_or_unsupported_key_hides_no_other_error() {
    let text = "outbound:\n  - name: out\n    listen: 0.0.0.0:2\n    upstream: \
        http://127.0.0.1:9\n    \
                credential: hub\n    retries: 3\n    upstreamTls: { certFile: x }\n\
                credentials:\n  hub: { tokenUrl: \"https://a\", clientId: me, clientSecretFile: \
                /nowhere }\n";
    let found = problems(text);
    let keys: Vec<_> = found
        .iter()
        .filter_map(|problem| problem.split(": ").nth(1))
        .collect();
    assert_eq!(
        keys,
        [
            "outbound[0].listen",
            "outbound[0].retries",
            "outbound[0].upstreamTls",
            "credentials.hub.clientId",
            "credentials.hub.clientSecretFile",
        ],
        "{found:#?}"
    );
}

#[test]
fn an_unknown_key_names_the_nearest() {
    for (text, path, nearest) in [
        ("lgo: {}\n", "lgo", "`log`"),
        ("logs: {}\n", "logs", "`log`"),
        ("amdin: {}\n", "amdin", "`admin`"),
        (
            "shutdown: { graceperiod: 1s }\n",
            "shutdown.graceperiod",
            "`gracePeriod`",
        ),
    ] {
        assert_problem(
            &format!("{ISSUER}{text}"),
            path,
            &format!("unknown key; the nearest known key is {nearest}"),
        );
    }
    assert_problem(
        &small_but("clientID", "clientId"),
        "credentials.hub.clientId",
        "`clientID`",
    );
}

#[test]
fn planned_keys_are_refused_as_such() {
    for pattern in not_yet::KEYS {
        let path = pattern.replace("[]", "[0]").replace('*', "hub");
        // Each key alone, in a tree that leads to it; other problems of that tree are of no
        // interest here.
        let mut text = String::from("1");
        for part in path.rsplit('.') {
            text = match part.strip_suffix("[0]") {
                Some(list) => format!("{{\"{list}\": [{text}]}}"),
                None => format!("{{\"{part}\": {text}}}"),
            };
        }
        let found = problems(&text);
        assert!(
            found
                .iter()
                .any(|p| p.ends_with(&format!(" {path}: not supported yet"))),
            "{path}: {found:#?}"
        );
        assert!(
            !found.iter().any(|p| p.contains("unknown key")),
            "{path}: {found:#?}"
        );
    }
}

#[test]
#[rustfmt::skip]
fn planned_values_are_refused_as_such() {
    let store = small_but("issuer:\n", "store: { url: \"postgres://u:p@h/d\" }\nissuer:\n");
    assert_problem(&store, "store.url", "this value is not supported yet");
    let client =
        "  clients: [{ id: a, secretFile: \"${DIR}/secret\", allowedGrantTypes: \
         ['urn:ietf:params:oauth:grant-type:jwt-bearer'] }]\n";
    assert_problem(
        &small_with("issuer", client),
        "issuer.clients[0].allowedGrantTypes[0]",
        "this value is not supported yet",
    );
    assert_problem(
        &small_with("issuer", "  accessTokenLifetime: 0s\n"),
        "issuer.accessTokenLifetime",
        "need `profile: plgd`",
    );
}

#[test]
fn inline_secrets_are_answered_with_the_file_key() {
    assert_problem(
        &small_with("credentials", "    clientSecret: x\n"),
        "credentials.hub.clientSecret",
        "`clientSecretFile`",
    );
    let client = "  clients: [{ id: a, secret: x, secretFile: \"${DIR}/secret\" }]\n";
    assert_problem(
        &small_with("issuer", client),
        "issuer.clients[0].secret",
        "`secretFile`",
    );
}

#[test]
#[rustfmt::skip]
fn wrong_kinds_name_the_expected_one() {
    for (from, to, path, message) in [
        ("clientID: a", "clientID: 7", "credentials.hub.clientID",
         "expected a client id, found a number"),
        ("listen: 127.0.0.1:8081", "listen: 8081", "inbound[0].listen",
         "expected an address such as"),
        ("authorities: [self]", "authorities: self", "inbound[0].authorities",
         "expected a list, found a text"),
        ("authorities: [self]", "authorities: []", "inbound[0].authorities",
         "the list must not be empty"),
        ("audiences: any", "audiences: []", "inbound[0].audiences", "the list must not be empty"),
        ("audiences: any", "audiences: https://a", "inbound[0].audiences",
         "expected `any` or a list"),
        ("audiences: any", "audiences: 7", "inbound[0].audiences",
         "expected `any` or a list, found a number"),
        ("audiences: any", "audiences:", "inbound[0].audiences", "there is no value"),
        ("audiences: any", "audiences: [any]", "inbound[0].audiences[0]", "`audiences: any`"),
        (
            "audiences: any",
            "audiences: any\n    trustedProxies: [10.1.2.3/8]",
            "inbound[0].trustedProxies[0]",
            "bits outside",
        ),
        ("audiences: any", "audiences: any\n    encodedSlash: allow", "inbound[0].encodedSlash",
         "keep"),
        ("audiences: any", "audiences: any\n    maxBody: 1MB", "inbound[0].maxBody", "KiB"),
        ("audiences: any", "audiences: any\n    maxBody: -1", "inbound[0].maxBody", "at least 0"),
        ("audiences: any", "audiences: any\n    maxBody: 1.5", "inbound[0].maxBody",
         "expected a size"),
        ("audiences: any", "audiences: any\n    issuer: yes", "inbound[0].issuer",
         "expected `true` or `false`, found a text"),
        ("name: in", "name: a b", "inbound[0].name", "1 to 64 letters"),
        ("issuer:\n", "threads: 1000\nissuer:\n", "threads", "at most 256"),
        ("issuer:\n", "shutdown: { delay: 5 }\nissuer:\n", "shutdown.delay", "a duration such as"),
        ("issuer:\n", "issuer:\n  clients:\n", "issuer.clients", "there is no value"),
        ("issuer:\n", "issuer:\n  ownerClaim: 1\n", "issuer.ownerClaim", "found a number"),
        ("- paths: [\"/**\"]", "- []", "inbound[0].rules[0]", "expected a mapping, found a list"),
    ] {
        assert_problem(&small_but(from, to), path, message);
    }
    let text = format!("{ISSUER}authorities: {{ \"a b\": {{ issuer: \"http://a\" }} }}\n");
    assert_problem(&text, "authorities.a b", "1 to 64 letters");
}

#[test]
#[rustfmt::skip]
fn the_resolver_checks_more_than_the_schema() {
    let client =
        |lines: &str| format!("issuer:\n  clients:\n    - id: a\n      secretFile: \
            ${{DIR}}/secret\n{lines}");
    for (from, to, path, message) in [
        ("self: {", "own: {", "inbound[0].authorities[0]",
         "no authority is named `self`; the only one is `own`"),
        ("credential: hub", "credential: hup", "outbound[0].credential",
         "no credential is named `hup`; the only one is `hub`"),
        ("name: out", "name: in", "outbound[0].name", "already used by `inbound[0].name`"),
        ("8082", "8081", "outbound[0].listen", "already used by `inbound[0].listen`"),
        ("127.0.0.1:8081", "0.0.0.0:8080", "inbound[0].listen", "already used by `issuer.listen`"),
        ("listen: 127.0.0.1:8080\n", "ownerClaim: o\n", "issuer", "the issuer has no listener"),
        ("127.0.0.1:8082", "192.0.2.1:8082", "outbound[0].listen", "allowRemote"),
        ("issuer:\n", "issuer:\n  accessTokenLifetime: 25h\n", "issuer.accessTokenLifetime",
         "from 1s to 24h"),
        ("issuer:\n", "issuer:\n  accessTokenLifetime: 10ms\n", "issuer.accessTokenLifetime",
         "from 1s to 24h"),
        ("issuer:\n", "issuer:\n  ownerClaim: sub\n", "issuer.ownerClaim", "sets this claim"),
        ("issuer:\n", "issuer:\n  signing: { rotateEvery: 59m }\n", "issuer.signing.rotateEvery",
         "0s, or from 1h to 366d"),
        ("issuer:\n", "issuer:\n  signing: { rotateEvery: 367d }\n", "issuer.signing.rotateEvery",
         "0s, or from 1h to 366d"),
        ("issuer:\n", "store: { encryptionKeyFile: \"${DIR}/secret\" }\nissuer:\n",
         "store.encryptionKeyFile", "32 random bytes"),
        ("issuer:\n", "store: { encryptionKeyFile: \"${DIR}/weak-key\" }\nissuer:\n",
         "store.encryptionKeyFile", "not random"),
        ("issuer:\n", "store: { encryptionKeyFile: \"${DIR}/nothing\" }\nissuer:\n",
         "store.encryptionKeyFile", "cannot be read"),
        ("issuer:\n", "issuer:\n  signing: { privateKeyFile: \"${DIR}/secret\" }\n",
         "issuer.signing.privateKeyFile", "no private key (PEM) for ES256"),
        ("issuer:\n", &client("    - { id: a, secretFile: \"${DIR}/secret\" }\n"),
         "issuer.clients[1].id", "`issuer.clients[0].id`"),
        ("issuer:\n", &client("      allowedGrantTypes: []\n"),
         "issuer.clients[0].allowedGrantTypes", "not be empty"),
        ("issuer:\n", &client("      allowedScopes: [\"a b\"]\n"),
         "issuer.clients[0].allowedScopes[0]", "as a list"),
        ("issuer:\n", &client("      allowedAudiences: [\"a b\"]\n"),
         "issuer.clients[0].allowedAudiences[0]", "as a list"),
        ("issuer:\n", &client("      expiresAt: tomorrow\n"), "issuer.clients[0].expiresAt",
         "RFC 3339"),
        ("issuer:\n", &client("      insertTokenClaims: { a: [.nan] }\n"),
         "issuer.clients[0].insertTokenClaims.a[0]", "JSON"),
        ("issuer:\n", &client("      insertTokenClaims: { \"plgd:required:scope\": null }\n"),
         "issuer.clients[0].insertTokenClaims.plgd:required:scope", "passes the scope check"),
        ("issuer:\n",
         &client("      insertTokenClaims: { \"plgd:required:scope\": [\"r:.*\"] }\n"),
         "issuer.clients[0].insertTokenClaims.plgd:required:scope", "passes the scope check"),
        ("issuer:\n", "issuer:\n  ownerClaim: \"plgd:required:scope\"\n", "issuer.ownerClaim",
         "sets this claim"),
        ("issuer:\n", "issuer:\n  deviceIDClaim: \"plgd:required:scope\"\n",
         "issuer.deviceIDClaim", "sets this claim"),
        ("issuer:\n", &client("      capToAssertion: true\n"), "issuer.clients[0].capToAssertion",
         "needs `jwtPrivateKey`"),
        ("issuer:\n", &client("").replace("/secret", "/nothing"), "issuer.clients[0].secretFile",
         "cannot be read"),
        ("issuer:\n", &client("").replace("/secret", "/empty"), "issuer.clients[0].secretFile",
         "is empty"),
        ("issuer:\n", "issuer:\n  clients: [{ id: a }]\n", "issuer.clients[0]",
         "one of `secretFile`, `jwksFile`, `jwksUri`"),
        ("issuer:\n", "issuer:\n  clients: [{ id: a, jwksUri: \"http://a.example/\" }]\n",
         "issuer.clients[0].jwksUri", "https URL"),
        ("issuer:\n",
         "issuer:\n  clients: [{ id: a, jwksUri: \"https://a.example/\", jwksFile: \
          \"${DIR}/jwks.json\" }]\n", "issuer.clients[0]", "only one of"),
        ("issuer:\n", "issuer:\n  clients: [{ id: a, jwksFile: \"${DIR}/secret\" }]\n",
         "issuer.clients[0].jwksFile", "public key"),
        ("issuer:\n", "issuer:\n  clients: [{ id: a, jwksFile: \"${DIR}/jwks.json\" }]\n",
         "issuer.clients[0].jwksFile", "public key"),
        ("issuer:\n", "issuer:\n  profile: plgd\n  deviceIDClaim: scope\n", "issuer.deviceIDClaim",
         "sets this claim"),
        ("issuer:\n", "issuer:\n  profile: plgd\n  ownerClaim: o\n  deviceIDClaim: o\n",
         "issuer.deviceIDClaim", "sets this claim"),
        ("issuer:\n", "issuer:\n  clients: [{ id: a, jwtPrivateKey: { authorities: [other] } }]\n",
         "issuer.clients[0].jwtPrivateKey.authorities[0]", "no authority is named `other`"),
        ("issuer:\n", "issuer:\n  clients: [{ id: a, jwtPrivateKey: { authorities: [self] } }]\n",
         "issuer.clients[0].jwtPrivateKey.authorities[0]", "renew a token without end"),
        ("issuer:\n", "issuer:\n  clients: [{ id: a, jwtPrivateKey: { authorities: [] } }]\n",
         "issuer.clients[0].jwtPrivateKey.authorities", "not be empty"),
        ("issuer:\n", "issuer:\n  maxAssertionLifetime: 25h\n", "issuer.maxAssertionLifetime",
         "from 1m to 24h"),
        ("issuer:\n", "issuer:\n  clientJwksHosts: [\"a:1\"]\n", "issuer.clientJwksHosts[0]",
         "without a port"),
        ("self: { ", "self: { clockSkew: 11m, ", "authorities.self.clockSkew", "from 0s to 10m"),
        ("self: { ", "self: { maxStale: 59s, ", "authorities.self.maxStale", "from 1m to"),
        ("issuer:\n", "readiness: [listeners, stores]\nissuer:\n", "readiness[1]",
         "`stores` is not one of"),
        ("self: { ", "self: { algorithms: [HS256], ", "authorities.self.algorithms[0]",
         "`HS256` is not one of `ES256`"),
        ("self: { ", "self: { requireExpiry: no-one, ", "authorities.self.requireExpiry", "true"),
        ("self: { ", "self: { profile: keycloak, ", "authorities.self.profile",
         "`keycloak` is not one of `standard`"),
        ("self: { ", "self: { algorithms: [], ", "authorities.self.algorithms", "not be empty"),
        ("self: { ", "self: { caFile: \"${DIR}/secret\", ", "authorities.self.caFile",
         "contains no PEM certificate"),
        ("self: { ", "self: { jwksFile: \"${DIR}/ca.pem\", ", "authorities.self.jwksFile",
         "`keys`"),
        ("self: { ", "self: { jwksFile: \"${DIR}/jwks.json\", ", "authorities.self.jwksFile",
         "holds no key"),
        ("self: { ", "self: { jwksFile: \"${DIR}/symmetric.json\", ", "authorities.self.jwksFile",
         "keys[0] (kid `s`): `kty` is `oct`"),
        ("self: { ", "self: { jwksFile: \"${DIR}/bom.json\", ", "authorities.self.jwksFile",
         "byte order mark"),
        ("self: { ", "self: { jwksFile: \"${DIR}/page.html\", ", "authorities.self.jwksFile",
         "HTML"),
        ("self: { ", "self: { jwksFile: \"${DIR}/twice.json\", ", "authorities.self.jwksFile",
         "repeats the member `keys`"),
        ("self: { ", "self: { revocation: { maxStale: 25h }, ",
         "authorities.self.revocation.maxStale", "from 0s to 24h"),
        ("self: { ", "self: { jwksFile: a, jwksUri: \"http://a\", ", "authorities.self.jwksFile",
         "not both"),
        ("{ issuer: \"http://127.0.0.1:8080\" }", "{ issuer: urn:a }", "authorities.self.issuer",
         "`jwksUri` or `jwksFile`"),
        ("{ issuer: \"http://127.0.0.1:8080\" }", "{ issuer: \"\", jwksUri: \"http://a\" }",
         "authorities.self.issuer", "empty"),
        ("audiences: any", "audiences: any\n    upstreamTls: {}", "inbound[0].upstreamTls",
         "need an https upstream"),
        ("audiences: any", "audiences: any\n    upstreamTimeouts: { read: 0s }",
         "inbound[0].upstreamTimeouts.read", "at least 1ms"),
        ("audiences: any", "audiences: any\n    keepAlive: 0s", "inbound[0].keepAlive",
         "from 1s to 1h"),
        (
            "audiences: any",
            "audiences: any\n    maxConnections: { total: 5, perAddress: 6 }",
            "inbound[0].maxConnections.perAddress",
            "more than `total`, which is 5",
        ),
        ("audiences: any", "audiences: any\n    keepAlive: 2h", "inbound[0].keepAlive",
         "from 1s to 1h"),
        ("audiences: any", "audiences: any\n    keepAlive: 1500ms", "inbound[0].keepAlive",
         "whole seconds"),
        ("audiences: any", "audiences: any\n    downstreamTimeouts: { read: 0s }",
         "inbound[0].downstreamTimeouts.read", "from 1ms to 24h"),
        ("audiences: any", "audiences: any\n    downstreamTimeouts: { idle: 1s }",
         "inbound[0].downstreamTimeouts.idle", "unknown"),
        ("audiences: any", "audiences: any\n    identityHeaders: { Host: sub }",
         "inbound[0].identityHeaders.Host", "uses this header"),
        ("audiences: any", "audiences: any\n    identityHeaders: { a-b: x, A_B: y }",
         "inbound[0].identityHeaders.a-b", "confuse this header"),
        ("- paths: [\"/**\"]", "- { paths: [/a], access: public, scopes: [b] }",
         "inbound[0].rules[0].scopes", "public rule"),
        ("- paths: [\"/**\"]", "- { paths: [/a], access: public, anyScope: [b] }",
         "inbound[0].rules[0].anyScope", "public rule"),
        ("- paths: [\"/**\"]", "- { paths: [/a], access: public, claims: { a: b } }",
         "inbound[0].rules[0].claims", "public rule"),
        ("- paths: [\"/**\"]", "- { paths: [/a], anyScope: [] }", "inbound[0].rules[0].anyScope",
         "not be empty"),
        ("- paths: [\"/**\"]", "- { paths: [/a], claims: { a: [] } }",
         "inbound[0].rules[0].claims.a", "not be empty"),
        ("- paths: [\"/**\"]", "- { paths: [/a], claims: { a: 1.5 } }",
         "inbound[0].rules[0].claims.a", "or a whole number or `true` or `false`"),
        ("- paths: [\"/**\"]", "- { paths: [/a], claims: { a: { b: c } } }",
         "inbound[0].rules[0].claims.a", "expected a list"),
        ("- paths: [\"/**\"]", "- { paths: [/a], claims: { a: [\"\"] } }",
         "inbound[0].rules[0].claims.a[0]", "1 to 1024"),
        ("audiences: any", "audiences: any\n    mode: off", "inbound[0].mode",
         "`off` is not one of `enforce`, `shadow`"),
        ("audiences: any", "audiences: any\n    corsPreflight: true", "inbound[0].corsPreflight",
         "one of `authenticate`, `pass`"),
        ("audiences: any", "audiences: any\n    cors: { origins: [https://a/b] }",
         "inbound[0].cors.origins[0]", "a host and an optional port"),
        ("audiences: any", "audiences: any\n    cors: { origins: [\"*\", https://a] }",
         "inbound[0].cors.origins", "remove the other items"),
        ("audiences: any", "audiences: any\n    cors: { origins: [\"*\"], credentials: true }",
         "inbound[0].cors.credentials", "list the origins"),
        ("audiences: any", "audiences: any\n    cors: { origins: [https://a] }\n    corsPreflight: pass",
         "inbound[0].cors", "answers preflights itself"),
        ("audiences: any", "audiences: any\n    responseHeaders: { Content-Length: x }",
         "inbound[0].responseHeaders.Content-Length", "uses this header"),
        ("audiences: any", "audiences: any\n    responseHeaders: { X-A: \" b\" }",
         "inbound[0].responseHeaders.X-A", "printable ASCII"),
        ("    upstream: http://127.0.0.1:9\n", "", "inbound[0].upstream",
         "this key is required, or `upstreams`"),
        ("    upstream: http://127.0.0.1:9\n", "    upstreams: { a: { url: http://127.0.0.1:9 } }\n",
         "inbound[0].rules[0].upstream", "name one of `upstreams`"),
        ("      - paths: [\"/**\"]\n", "      - { paths: [/a], upstream: b }\n",
         "inbound[0].rules[0].upstream", "`upstreams` has no `b`"),
        ("      - paths: [\"/**\"]\n", "      - { paths: [/a/b, /ab], stripPrefix: /a }\n",
         "inbound[0].rules[0].paths[1]", "which is `/a`"),
        ("      - paths: [\"/**\"]\n", "      - { paths: [/a/b], stripPrefix: /a/ }\n",
         "inbound[0].rules[0].stripPrefix", "remove the slash"),
        ("      - paths: [\"/**\"]\n", "      - { paths: [/a/b], stripPrefix: /a/../a }\n",
         "inbound[0].rules[0].stripPrefix", "not in normal form"),
        ("audiences: any", "audiences: any\n    limits: {}", "inbound[0].limits",
         "set `requestsPerSecond`"),
        ("audiences: any", "audiences: any\n    limits: { burst: 2 }", "inbound[0].limits.burst",
         "needs `requestsPerSecond`"),
        ("audiences: any", "audiences: any\n    limits: { requestsPerSecond: 0 }",
         "inbound[0].limits.requestsPerSecond", "at least 1"),
        ("audiences: any", "audiences: any\n    limits: { concurrent: 1, per: user }",
         "inbound[0].limits.per", "`client_id`, `sub`, `address`, `listener`"),
        ("- paths: [\"/**\"]", "- { paths: [/a], methods: [] }", "inbound[0].rules[0].methods",
         "not be empty"),
        ("- paths: [\"/**\"]", "- { paths: [/a], methods: [get] }",
         "inbound[0].rules[0].methods[0]", "upper case"),
        ("- paths: [\"/**\"]", "- { paths: [/a], access: private }", "inbound[0].rules[0].access",
         "`private` is not one of `public`"),
        ("- paths: [\"/**\"]", "- { paths: [] }", "inbound[0].rules[0].paths", "not be empty"),
        ("- paths: [\"/**\"]", "- { scopes: [a] }", "inbound[0].rules[0].paths", "required"),
        ("rules:\n      - paths: [\"/**\"]", "rules: []", "inbound[0].rules", "not be empty"),
        ("tokenUrl: http://127.0.0.1:8080/oauth/token\n    ", "", "credentials.hub",
         "set `authority`, `tokenUrl`, `tokenFile` or `login`"),
        ("tokenUrl", "authority: http://a\n    tokenUrl", "credentials.hub.tokenUrl", "not both"),
        (
            "clientID: a",
            "authMethod: client_secret_basic_raw\n    clientID: \"a:b\"",
            "credentials.hub.clientID",
            "must not contain a colon",
        ),
        (
            "clientID: a",
            "audienceParameter: aud\n    audiences: [x]\n    extraParameters: { aud: y }\n    \
             clientID: a",
            "credentials.hub.extraParameters.aud",
            "`audiences` already sets this parameter",
        ),
        ("clientID: a", "audienceParameter: resource\n    clientID: a",
         "credentials.hub.audienceParameter", "`aud`"),
        ("clientID: a", "clientID: a\n    refreshAt: 96%", "credentials.hub.refreshAt",
         "from 10% to 95%"),
        ("clientID: a", "clientID: a\n    refreshAt: 9.9%", "credentials.hub.refreshAt",
         "from 10% to 95%"),
        ("clientID: a", "clientID: a\n    extraParameters: { scope: x }",
         "credentials.hub.extraParameters.scope", "set this parameter"),
        ("clientID: a", "clientID: a\n    resource: [x]", "credentials.hub.resource[0]",
         "absolute URI"),
        ("credential: hub", "credential: hub\n    header: Host", "outbound[0].header",
         "uses this header"),
        ("credential: hub", "credential: hub\n    prefix: \"a\\n\"", "outbound[0].prefix",
         "printable"),
        ("credential: hub", "credential: hub\n    hosts: [\"*\"]", "outbound[0].hosts[0]",
         "host name"),
        ("rules:\n      - paths: [\"/**\"]", "rules: [{ paths: [/a] }, { paths: [/a;b] }]",
         "inbound[0].rules[1].paths[0]", "`;`"),
    ] {
        assert_problem(&small_but(from, to), path, message);
    }
}

/// Values with the right form that cannot work.
#[test]
#[rustfmt::skip]
fn certain_mistakes_are_refused() {
    const METADATA: &str = "https://idp.example/realms/iot/.well-known/openid-configuration";
    let method = |method: &str| format!("- {{ paths: [/a], methods: [{method}] }}");
    let path = |path: &str| format!("- paths: [\"{path}\"]");
    let headers = |headers: &str| format!("audiences: any\n    identityHeaders: {{ {headers} }}");
    for (from, to, path, message) in [
        ("self: { issuer: \"http://127.0.0.1:8080\" }",
         format!("self: {{ issuer: \"{METADATA}\" }}"), "authorities.self.issuer",
         "probably `https://idp.example/realms/iot`"),
        ("self: { issuer: \"http://127.0.0.1:8080\" }",
         "self: { issuer: \"https://idp.example/.well-known/oauth-authorization-server/iot\" \
          }".into(), "authorities.self.issuer", "probably `https://idp.example/iot`"),
        ("self: { ", format!("self: {{ jwksUri: \"{METADATA}\", "), "authorities.self.jwksUri",
         "`issuer: https://idp.example/realms/iot`"),
        ("tokenUrl: http://127.0.0.1:8080/oauth/token", format!("tokenUrl: {METADATA}"),
         "credentials.hub.tokenUrl", "`authority: https://idp.example/realms/iot`"),
        ("tokenUrl: http://127.0.0.1:8080/oauth/token", format!("authority: {METADATA}"),
         "credentials.hub.authority", "probably `https://idp.example/realms/iot`"),
        ("audiences: any", "audiences: [\"*\"]".into(), "inbound[0].audiences[0]",
         "`audiences: any`"),
        ("audiences: any", "audiences: [https://a, ANY]".into(), "inbound[0].audiences[1]",
         "`audiences: any`"),
        ("- paths: [\"/**\"]", method("ANY"), "inbound[0].rules[0].methods[0]", "remove `methods`"),
        ("- paths: [\"/**\"]", method("\"*\""), "inbound[0].rules[0].methods[0]",
         "remove `methods`"),
        ("- paths: [\"/**\"]", method("GET, ALL"), "inbound[0].rules[0].methods[1]",
         "remove `methods`"),
        ("- paths: [\"/**\"]", method("\"GET,POST\""), "inbound[0].rules[0].methods[0]",
         "write several methods as a list"),
        ("- paths: [\"/**\"]", path("/devices/:id"), "inbound[0].rules[0].paths[0]",
         "use `{id}` or `*` for one segment"),
        ("- paths: [\"/**\"]", path("/devices/:device_id/config"), "inbound[0].rules[0].paths[0]",
         "use `{id}` or `*` for one segment"),
        ("- paths: [\"/**\"]", path("/devices/{id:int}"), "inbound[0].rules[0].paths[0]",
         "use `{id}` or `*` for one segment"),
        ("- paths: [\"/**\"]", path("/devices/<int:id>"), "inbound[0].rules[0].paths[0]",
         "use `{id}` or `*` for one segment"),
        ("audiences: any", headers("sub: x-m2m-subject"), "inbound[0].identityHeaders.sub",
         "write `x-m2m-subject: sub`"),
        ("audiences: any", headers("client_id: X-Client"), "inbound[0].identityHeaders.client_id",
         "write `X-Client: client_id`"),
        ("audiences: any", headers("email: remote-user"), "inbound[0].identityHeaders.email",
         "write `remote-user: email`"),
    ] {
        assert_problem(&small_but(from, &to), path, message);
    }
    let own = small().replace("http://127.0.0.1:8080", METADATA);
    assert!(problems(&own).iter().any(|problem| problem.contains("issuer.url: this is the URL of \
        the metadata")));
}

#[test]
fn certificates_that_the_environment_names_must_be_usable() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        std::fs::write(dir.path().join(name), content).unwrap();
        dir.path().join(name).display().to_string()
    };
    let key = rcgen::KeyPair::generate().unwrap();
    let good = rcgen::CertificateParams::new(["a".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap()
        .pem();
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (variable, value, message) in [
        ("SSL_CERT_FILE", file("good", &good), None),
        (
            "SSL_CERT_FILE",
            file("empty", ""),
            Some("contains no PEM certificate"),
        ),
        (
            "SSL_CERT_FILE",
            file("broken", broken),
            Some("contains an invalid certificate"),
        ),
        (
            "SSL_CERT_FILE",
            "/nowhere/ca.pem".to_owned(),
            Some("`/nowhere/ca.pem` of the variable SSL_CERT_FILE cannot be read: No such file"),
        ),
        ("SSL_CERT_FILE", String::new(), Some("cannot be read")),
        ("SSL_CERT_DIR", dir.path().display().to_string(), None),
        (
            "SSL_CERT_DIR",
            "/nowhere".to_owned(),
            Some("cannot be read: No such file"),
        ),
    ] {
        let parsed = parse(ISSUER, "x.yaml", &|name| {
            (name == variable).then(|| value.clone())
        });
        let said = parsed.err().map(|problems| problems.to_string());
        match message {
            None => assert_eq!(said, None, "{variable}={value}"),
            Some(message) => {
                let said = said.unwrap_or_default();
                assert!(
                    said.contains(variable) && said.contains(message),
                    "{variable}={value}: {said}"
                );
            }
        }
    }
}
