//! Towards plgd: a token of an m2m-oauth-server for a program behind an outbound listener, and what
//! its refusals say.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::support::behave::Behave;
use crate::support::http1;
use crate::support::until;
use crate::support::upstream::{Answer, Received};

/// With every character that one of the encodings changes.
const SPECIAL: &str = "p+w %41:s&=ä/2345";
const AUDIENCES: [&str; 2] = ["https://a.example", "https://b.example"];
const ADMIN: &str = "the-admin-token-of-towards";

/// An m2m-oauth-server with the client `legacy`, which must ask for some of [`AUDIENCES`]: it takes
/// Basic as it is, prefers it to the body, and reads the audience of a form from the first `aud`,
/// split at single spaces.
fn m2m_server() -> Upstream {
    let server = Upstream::start();
    server.answer(
        |request| match (request.method.as_str(), request.target.as_str()) {
            ("GET", "/m2m-oauth-server/.well-known/openid-configuration") => {
                let base = format!(
                    "http://{}/m2m-oauth-server",
                    request.header("host").unwrap_or_default()
                );
                let document = json!({
                    "issuer": base,
                    "token_endpoint": format!("{base}/oauth/token"),
                    "jwks_uri": format!("{base}/.well-known/jwks.json"),
                    "plgd_tokens_endpoint": format!("{base}/api/v1/tokens"),
                });
                Answer::with_headers(
                    &[("Content-Type", "application/json")],
                    &document.to_string(),
                )
            }
            ("POST", TOKEN) => match create_token(request) {
                Ok(token) => Answer::with_headers(
                    &[("Content-Type", "application/json")],
                    &json!({"access_token": token, "scope": "", "token_type": "Bearer"})
                        .to_string(),
                ),
                Err(why) => refusal(&format!(
                    "cannot create token: rpc error: code = Unauthenticated desc = cannot create \
                 token: {why}"
                )),
            },
            _ => refusal(&format!(
                "cannot access to {}: inaccessible uri",
                request.target
            )),
        },
    );
    server
}

fn refusal(message: &str) -> Answer {
    let body = json!({"code": 16, "message": message, "details": []}).to_string();
    Answer::Reply(
        401,
        vec![("Content-Type".to_owned(), "application/json".to_owned())],
        body.into_bytes(),
    )
}

fn create_token(request: &Received) -> Result<String, String> {
    let form: Vec<(String, String)> = form_urlencoded::parse(&request.body).into_owned().collect();
    let first = |name: &str| {
        form.iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    };
    let (mut id, mut secret) = (first("client_id"), first("client_secret"));
    let basic = http1::all(&request.headers, "authorization")
        .first()
        .and_then(|it| it.strip_prefix("Basic "));
    let basic = basic.and_then(|it| String::from_utf8(STANDARD.decode(it).ok()?).ok());
    if let Some((of_id, of_secret)) = basic.as_deref().and_then(|it| it.split_once(':')) {
        (id, secret) = (of_id.to_owned(), of_secret.to_owned());
    }
    if id != "legacy" {
        return Err(format!("client({id}) not found"));
    }
    if secret != SPECIAL {
        return Err("invalid request: invalid client secret".to_owned());
    }
    let aud = first("aud");
    let asked: Vec<&str> = if aud.is_empty() {
        Vec::new()
    } else {
        aud.split(' ').collect()
    };
    if asked.is_empty() || asked.iter().any(|audience| !AUDIENCES.contains(audience)) {
        return Err(format!(
            "invalid request: invalid audience([{}])",
            asked.join(" ")
        ));
    }
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let token = format!(
        "{}.{}.c2lnbmF0dXJl",
        part(&json!({"alg": "ES256"})),
        part(&json!({"aud": asked}))
    );
    logs::remember_secret(&token);
    Ok(token)
}

/// A sidecar with a credential at that server.
async fn towards(server: &Upstream, service: &Upstream, credential: &str) -> Sidecar {
    let yaml = format!(
        r#"
stateDir: "@DIR@"
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }}
credentials:
  plgd:
    authority: {}/m2m-oauth-server
    clientID: legacy
    clientSecretFile: "@DIR@/secret"
    {credential}
outbound: [{{ name: plgd, listen: 127.0.0.1:0, upstream: "{}", credential: plgd }}]
"#,
        server.url(),
        service.url(),
    );
    let files = Sidecar::builder().secret_file("secret", "legacy", SPECIAL);
    files
        .secret_file("admin", "admin", ADMIN)
        .start(&yaml)
        .await
}

async fn status(sidecar: &Sidecar) -> Value {
    let authorization = format!("Bearer {ADMIN}");
    let answer = get(
        sidecar.address("admin"),
        "/status",
        &[("Authorization", &authorization)],
    )
    .await;
    logs::note(&answer.text());
    answer.json()
}

fn audiences_asked(request: &Received) -> Vec<(String, String)> {
    let form = form_urlencoded::parse(&request.body).into_owned();
    form.filter(|(name, _)| name.starts_with("aud")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_reads_raw_basic_and_aud_gives_a_token() {
    let (server, service) = (m2m_server(), Upstream::start());
    for method in ["client_secret_post", "client_secret_basic_raw"] {
        for (audiences, aud) in [
            ("[https://a.example]", "https://a.example"),
            (
                "[https://b.example, https://a.example]",
                "https://b.example https://a.example",
            ),
        ] {
            let credential = format!(
                "authMethod: {method}\n    audienceParameter: aud\n    audiences: {audiences}"
            );
            let sidecar = towards(&server, &service, &credential).await;
            let answer = get(sidecar.address("plgd"), "/api/v1/devices", &[]).await;
            assert_eq!(
                answer.status,
                200,
                "{method} {audiences}: {}",
                answer.text()
            );
            let asked = server.received().pop().expect("a token request");
            assert_eq!(
                audiences_asked(&asked),
                [("aud".to_owned(), aud.to_owned())]
            );
            let seen = service.received().pop().expect("the request");
            let parts: Vec<&str> = seen.bearer().expect("a token").split('.').collect();
            let claims = URL_SAFE_NO_PAD.decode(parts[1]).expect("base64");
            let claims: Value = serde_json::from_slice(&claims).expect("JSON");
            assert_eq!(claims["aud"], json!(aud.split(' ').collect::<Vec<_>>()));
            sidecar.stop().await;
        }
    }
}

/// The two mistakes that are easily made with such a server, each of which is a bare 401 without
/// the message.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_server_is_shown_in_the_log_and_in_the_status() {
    let (server, service) = (m2m_server(), Upstream::start());
    for (credential, says) in [
        (
            "authMethod: client_secret_post\n    audiences: [https://a.example]",
            "invalid audience([])",
        ),
        (
            "authMethod: client_secret_post\n    audienceParameter: aud\n    audiences: \
             [https://c.example]",
            "invalid audience([https://c.example])",
        ),
        (
            "audienceParameter: aud\n    audiences: [https://a.example]",
            "invalid client secret",
        ),
    ] {
        let sidecar = towards(&server, &service, credential).await;
        let mark = logs::mark();
        assert_eq!(
            get(sidecar.address("plgd"), "/", &[]).await.status,
            503,
            "{credential}"
        );
        let line = logs::wait_for_line(mark, &["WARN", "no access token fetched", says]).await;
        assert!(line.contains("status 401"), "{line}");
        let status = status(&sidecar).await;
        let credential = &status["credentials"][0];
        let error = credential["last_error"].as_str().expect("an error");
        assert!(
            error.contains("status 401") && error.contains(says),
            "{error}"
        );
        assert_eq!(credential["last_error_code"], "status");
        sidecar.stop().await;
    }
    assert!(service.received().is_empty());
}

/// A server that repeats what it got: neither log nor status shows it. That no log holds a secret
/// is looked for at the end of each sidecar.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_repeats_the_secret_is_left_out() {
    let (server, service) = (m2m_server(), Upstream::start());
    let sidecar = towards(&server, &service, "authMethod: client_secret_post").await;
    server.answer(|request| match request.method.as_str() {
        "POST" => refusal(&format!(
            "bad request: {}",
            String::from_utf8_lossy(&request.body)
        )),
        _ => m2m_document(request),
    });
    let mark = logs::mark();
    assert_eq!(get(sidecar.address("plgd"), "/", &[]).await.status, 503);
    let line = logs::wait_for_line(
        mark,
        &["WARN", "no access token fetched", "which is left out"],
    )
    .await;
    let status = status(&sidecar).await.to_string();
    for part in ["client_secret", "2345", "%2F2345"] {
        assert!(
            !line.contains(part) && !status.contains(part),
            "{line}\n{status}"
        );
    }
    assert!(status.contains("which is left out"), "{status}");
    sidecar.stop().await;
}

fn m2m_document(request: &Received) -> Answer {
    let base = format!(
        "http://{}/m2m-oauth-server",
        request.header("host").unwrap_or_default()
    );
    let document = json!({"issuer": base, "token_endpoint": format!("{base}/oauth/token")});
    Answer::with_headers(&[], &document.to_string())
}

/// An HTTP answer with a Status.
fn raw_status(status: u16, message: &str) -> Behave {
    let body = json!({"code": 14, "message": message, "details": []}).to_string();
    Behave::Raw(
        format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_of_an_authority_are_shown() {
    let upstream = Upstream::start();
    let hostile = "database is \u{1b}[31mdown\nfor `now`";
    for (endpoint, kind, begins) in [
        (
            Endpoint::OpenidConfiguration,
            "none",
            "cannot fetch the key set",
        ),
        (Endpoint::Jwks, "none", "cannot fetch the key set"),
        (
            Endpoint::Revocations,
            "list",
            "cannot fetch which tokens are revoked",
        ),
        (
            Endpoint::PlgdTokens,
            "plgd",
            "cannot fetch which tokens are revoked",
        ),
    ] {
        let authority = Authority::start();
        authority.advertise("revocation_list_uri", "/revocations");
        authority.advertise("plgd_tokens_endpoint", "/api/v1/tokens");
        authority.behave(endpoint, raw_status(503, hostile));
        let yaml = format!(
            r#"
stateDir: "@DIR@"
admin: {{ listen: 127.0.0.1:0, tokenFile: "@DIR@/admin" }}
authorities: {{ users: {{ issuer: "{}", revocation: {kind} }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [users], audiences: any, rules: [{{ paths: ["/**"] }}] }}
"#,
            authority.issuer(),
            upstream.url()
        );
        let mark = logs::mark();
        let sidecar = Sidecar::builder()
            .secret_file("admin", "admin", ADMIN)
            .start(&yaml)
            .await;
        let token = authority
            .token()
            .claim("jti", "11111111-2222-4333-8444-555555555555")
            .sign();
        let authorization = format!("Bearer {token}");
        until("it is told", async || {
            get(
                sidecar.address("api"),
                "/",
                &[("Authorization", &authorization)],
            )
            .await;
            // On one line, and without the control characters.
            !logs::lines_since(
                mark,
                &[
                    "WARN",
                    begins,
                    "database is ",
                    "u{1b}[31mdown",
                    "nfor 'now'",
                ],
            )
            .is_empty()
        })
        .await;
        if kind == "none" {
            let error = status(&sidecar).await["authorities"][0]["last_error"].to_string();
            assert!(error.contains("database is"), "{error}");
        }
        sidecar.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tokens_endpoint_that_repeats_the_token_does_not_expose_it() {
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.advertise("plgd_tokens_endpoint", "/api/v1/tokens");
    let yaml = format!(
        r#"
stateDir: "@DIR@"
authorities: {{ users: {{ issuer: "{}", revocation: plgd }} }}
inbound:
  - {{ name: api, listen: 127.0.0.1:0, upstream: "{}", authorities: [users], audiences: any, rules: [{{ paths: ["/**"] }}] }}
"#,
        authority.issuer(),
        upstream.url()
    );
    let sidecar = Sidecar::start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    let token = authority
        .token()
        .claim("jti", "11111111-2222-4333-8444-555555555555")
        .sign();
    logs::remember_secret(&token);
    authority.behave(
        Endpoint::PlgdTokens,
        raw_status(500, &format!("no entry of '{}'", &token[..60])),
    );
    let mark = logs::mark();
    let authorization = format!("Bearer {token}");
    assert_eq!(
        get(
            sidecar.address("api"),
            "/",
            &[("Authorization", &authorization)]
        )
        .await
        .status,
        503
    );
    let line = logs::wait_for_line(
        mark,
        &[
            "WARN",
            "cannot fetch which tokens are revoked",
            "(500)",
            "left out",
        ],
    )
    .await;
    assert!(!line.contains(&token[..8]), "{line}");
    sidecar.stop().await;
}
