//! Credentials whose tokens come from elsewhere than an OAuth token endpoint.

use super::{assert_problem, config, small_but, small_with, warnings};
use crate::domain::token_use::SinkFormat;
use crate::token_source::{Authentication, Field, LoginBody, TokenEndpoint, TokenPlace};

/// The small configuration, its credential with these lines only.
fn credential(lines: &str) -> String {
    let oauth = "    tokenUrl: http://127.0.0.1:8080/oauth/token\n    clientID: a\n    \
                 clientSecretFile: ${DIR}/secret\n";
    small_but(oauth, lines)
}

#[test]
fn a_file_of_a_token_needs_nothing_else() {
    let text = credential("    tokenFile: ${DIR}/secret\n    prefetch: true\n");
    let hub = &config(&text).credentials[0];
    assert!(matches!(&hub.endpoint, TokenEndpoint::File(file) if file.ends_with("secret")));
    assert_eq!(hub.authentication, Authentication::None);
    assert!(hub.prefetch && !hub.local_api);
}

#[test]
fn keys_of_oauth_have_no_effect_beside_a_file() {
    for (key, value) in [
        ("tokenUrl", "http://127.0.0.1:8080/oauth/token"),
        ("authority", "http://127.0.0.1:8080"),
        ("clientID", "a"),
        ("clientSecretFile", "${DIR}/secret"),
        ("scopes", "[a]"),
        ("keepToken", "true"),
        ("dpop", "true"),
        ("refreshAt", "50%"),
    ] {
        let lines = format!("    tokenFile: ${{DIR}}/secret\n    {key}: {value}\n");
        let path = format!("credentials.hub.{key}");
        assert_problem(
            &credential(&lines),
            &path,
            "remove this key: the tokens come from `tokenFile`",
        );
    }
}

#[test]
fn a_file_of_a_token_has_a_token_or_is_still_to_come() {
    assert_problem(
        &credential("    tokenFile: ${DIR}/key.pem\n"),
        "credentials.hub.tokenFile",
        "does not have one token of printable ASCII characters",
    );
    let warned = warnings(&credential("    tokenFile: ${DIR}/still-to-come\n")).join("\n");
    assert!(warned.contains("requests get 503 until"), "{warned}");
}

#[test]
fn a_credential_has_one_source() {
    assert_problem(
        &credential("    clientID: a\n    clientSecretFile: ${DIR}/secret\n"),
        "credentials.hub",
        "set `authority`, `tokenUrl`, `tokenFile` or `login`",
    );
    assert_problem(
        &small_but("    clientID: a\n", ""),
        "credentials.hub.clientID",
        "this key is required",
    );
}

#[test]
fn a_token_in_the_query_is_in_no_other_place() {
    let query = |more: &str| small_with("outbound", &format!("    query: api_key\n{more}"));
    let attach = &config(&query("")).outbound[0].attach;
    assert_eq!(attach.query.as_deref(), Some("api_key"));
    for (key, value) in [
        ("header", "X-API-Key"),
        ("prefix", "\"\""),
        ("upstreamAuthorization", "{ cookie: token }"),
    ] {
        let path = format!("outbound[0].{key}");
        let message = "remove this key: `query` names the parameter that carries the token";
        assert_problem(&query(&format!("    {key}: {value}\n")), &path, message);
    }
    assert_problem(
        &small_with("outbound", "    query: \"a&b\"\n"),
        "outbound[0].query",
        "1 to 64 letters, digits",
    );
    let bound = query("").replace("    clientID: a\n", "    clientID: a\n    dpop: true\n");
    assert_problem(&bound, "outbound[0].query", "bound by `dpop`");
}

const LOGIN: &str = "      url: https://a.example/login\n      token: /data/token\n";

fn login(lines: &str) -> String {
    credential(&format!("    login:\n{LOGIN}{lines}"))
}

#[test]
fn a_login_is_a_request_with_values_from_files() {
    let lines = "      method: PUT\n      \
                 headers: { X-API-Key: { valueFile: \"${DIR}/secret\" } }\n      \
                 body: { json: { user: me, list: [1, { valueFile: \"${DIR}/secret\" }], file: { \
                 valueFile: 7 } } }\n      expiresIn: /ttl\n      lifetime: 10m\n    \
                 refreshAt: 50%\n";
    let hub = &config(&login(lines)).credentials[0];
    let TokenEndpoint::Login(login) = &hub.endpoint else {
        panic!()
    };
    assert_eq!(login.method, http::Method::PUT);
    assert_eq!(login.token, TokenPlace::Member("/data/token".to_owned()));
    assert_eq!(login.expires_in.as_deref(), Some("/ttl"));
    assert!(matches!(&login.headers[..], [(name, Field::File(_))] if name == "x-api-key"));
    let LoginBody::Json(body, files) = &login.body else {
        panic!()
    };
    let expected =
        serde_json::json!({ "user": "me", "list": [1, null], "file": { "valueFile": 7 } });
    assert_eq!(*body, expected);
    assert!(
        matches!(&files[..], [(pointer, file)] if pointer == "/list/1" && file.ends_with("secret"))
    );
    assert!((hub.refresh_at - 0.5).abs() < 1e-9);
}

#[test]
fn a_login_that_cannot_work_is_refused() {
    for (lines, path, message) in [
        ("      body: {}\n", "body", "set either `json` or `form`"),
        (
            "      body: { json: {}, form: {} }\n",
            "body",
            "set either `json` or `form`",
        ),
        (
            "      method: GET\n      body: { form: {} }\n",
            "body",
            "a GET has no body",
        ),
        (
            "      method: PUT\n      body: { form: {} }\n",
            "body.form",
            "sent with `method: POST`",
        ),
        ("      lifetime: 0s\n", "lifetime", "1s"),
        ("      expiresIn: ttl\n", "expiresIn", "begins with `/`"),
        (
            "      body: { json: { a: { valueFile: \"${DIR}/none\" } } }\n",
            "body.json.a.valueFile",
            "cannot be read",
        ),
        (
            "      body: { form: { a: { valueFile: \"${DIR}/empty\" } } }\n",
            "body.form.a.valueFile",
            "is empty",
        ),
        (
            "      headers: { Host: a }\n",
            "headers.Host",
            "HTTP or the sidecar uses this header",
        ),
    ] {
        let path = format!("credentials.hub.login.{path}");
        assert_problem(&login(lines), &path, message);
    }
    let token = |token: &str| login("").replace("/data/token", token);
    for (text, message) in [
        ("data", "a JSON Pointer begins with `/`"),
        ("\"header X Y\"", "not a valid header name"),
    ] {
        assert_problem(&token(text), "credentials.hub.login.token", message);
    }
    assert_problem(
        &login("    clientID: a\n"),
        "credentials.hub.clientID",
        "remove this key: the tokens come from `login`",
    );
    assert_problem(
        &login("    keepToken: true\n"),
        "credentials.hub.keepToken",
        "set `store.encryptionKeyFile`",
    );
    assert_problem(
        &login("    tokenFile: ${DIR}/secret\n"),
        "credentials.hub.login",
        "remove this key: the tokens come from `tokenFile`",
    );
}

#[test]
fn a_file_for_the_token_has_an_owner_a_mode_and_a_format() {
    let sink = |lines: &str| {
        let text = small_with("credentials", &format!("    sink: {lines}\n"));
        config(&text).credentials[0].clone()
    };
    let hub = sink("{ path: /run/hub/token }");
    let of = hub.sink.unwrap();
    assert_eq!(
        (of.mode, of.user, of.group, of.format),
        (0o600, None, None, SinkFormat::Raw)
    );
    assert!(hub.prefetch, "the file is for programs that do not ask");
    let of = sink(
        "{ path: /run/hub/token, mode: \"0640\", owner: \"app:web\", format: execCredential }",
    );
    let of = of.sink.unwrap();
    let owner = (of.user.as_deref(), of.group.as_deref());
    assert_eq!((of.mode, owner), (0o640, (Some("app"), Some("web"))));
    assert_eq!(of.format, SinkFormat::ExecCredential);
    let of = sink("{ path: /run/hub/token, owner: \":7\" }")
        .sink
        .unwrap();
    assert_eq!((of.user, of.group.as_deref()), (None, Some("7")));
}

#[test]
fn a_file_for_the_token_is_not_for_everyone_and_not_for_two() {
    let sink = |lines: &str| small_with("credentials", &format!("    sink: {lines}\n"));
    for (lines, path, message) in [
        (
            "{ path: /a, mode: \"0666\" }",
            "mode",
            "only its owner may write",
        ),
        (
            "{ path: /a, mode: \"0700\" }",
            "mode",
            "only its owner may write",
        ),
        (
            "{ path: /a, mode: \"0200\" }",
            "mode",
            "the owner must be able to read",
        ),
        (
            "{ path: /a, mode: \"rw\" }",
            "mode",
            "the mode must be octal",
        ),
        (
            "{ path: /a, owner: \":\" }",
            "owner",
            "`user`, `user:group` or `:group`",
        ),
        (
            "{ path: /a, owner: \"a b\" }",
            "owner",
            "`user`, `user:group` or `:group`",
        ),
        (
            "{ path: \"${DIR}/secret\" }",
            "path",
            "a credential reads this file",
        ),
    ] {
        assert_problem(
            &sink(lines),
            &format!("credentials.hub.sink.{path}"),
            message,
        );
    }
    let warned = warnings(&sink("{ path: /a, mode: \"0644\" }")).join("\n");
    assert!(
        warned.contains("every user of this machine can read the token"),
        "{warned}"
    );
    let two = "{ path: /a }\n  other: { tokenFile: \"${DIR}/secret\", sink: { path: /a } }";
    assert_problem(
        &sink(two),
        "credentials.other.sink.path",
        "another credential writes this file",
    );
    let bound =
        sink("{ path: /a }").replace("    clientID: a\n", "    clientID: a\n    dpop: true\n");
    assert_problem(&bound, "credentials.hub.sink", "bound by `dpop`");
}

#[test]
fn a_quota_waits_for_a_while_or_refuses() {
    let throttle = |lines: &str| {
        let text = small_with("outbound", &format!("    throttle: {lines}\n"));
        config(&text).outbound[0].throttle.unwrap()
    };
    let secs = std::time::Duration::from_secs;
    let waiting = throttle("{ requests: 100, per: 1m }");
    assert_eq!(
        (waiting.requests, waiting.per, waiting.max_wait),
        (100, secs(60), Some(secs(30)))
    );
    assert_eq!(
        throttle("{ requests: 1, per: 1s, maxWait: 2m }").max_wait,
        Some(secs(120))
    );
    assert_eq!(
        throttle("{ requests: 1, per: 1s, mode: refuse }").max_wait,
        None
    );
    let text = small_with("credentials", "    throttle: { requests: 3, per: 24h }\n");
    let of = config(&text).credentials[0].throttle.unwrap();
    assert_eq!(of.requests, 3);
    for (lines, path, message) in [
        ("{ requests: 0, per: 1s }", "requests", "at least 1"),
        ("{ requests: 1, per: 25h }", "per", "24h"),
        ("{ requests: 1, per: 1s, maxWait: 11m }", "maxWait", "10m"),
        (
            "{ requests: 1, per: 1s, mode: refuse, maxWait: 1s }",
            "maxWait",
            "no effect with `mode: refuse`",
        ),
    ] {
        let text = small_with("outbound", &format!("    throttle: {lines}\n"));
        assert_problem(&text, &format!("outbound[0].throttle.{path}"), message);
    }
}
