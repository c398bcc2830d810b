//! Token answers as real token endpoints write them: a token that can work is served, what deviates
//! is told once, and what can never work is not asked for in a hurry.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::Instant;

use super::world;
use crate::support::authority::Endpoint;
use crate::support::behave::Behave;
use crate::support::{logs, now};

/// `{"access_token":"t0k3n.of-a.real_server","token_type":"Bearer","expires_in":3600}` as gzip.
const GZIP: &[u8] = include_bytes!("token-answer.json.gz");
const TOKEN: &str = "t0k3n.of-a.real_server";

/// An answer with this status and these header lines.
fn raw(status: u16, headers: &str, body: &[u8]) -> Behave {
    let head = format!(
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    Behave::Raw([head.as_bytes(), body].concat())
}

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_60_kib_is_attached() {
    let world = world("", "").await;
    let token = "t".repeat(60 * 1024);
    logs::remember_secret(&token);
    let answer = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":60}}"#);
    world
        .authority
        .behave(Endpoint::Token, Behave::Body(answer));
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.upstream.received()[0].bearer(), Some(token.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_deviating_answer_is_used_with_one_warning() {
    logs::remember_secret(TOKEN);
    let with = |rest: &str| format!(r#"{{"access_token":"{TOKEN}"{rest}}}"#).into_bytes();
    let bearer = || with(r#","token_type":"Bearer","expires_in":3600"#);
    let form = format!("access_token={TOKEN}&token_type=bearer&expires_in=3600");
    for (name, answer, told) in [
        (
            "Shopify",
            raw(
                200,
                JSON,
                &with(r#","scope":"write_products","expires_in":86399"#),
            ),
            "no token_type",
        ),
        (
            "Apigee",
            raw(
                200,
                JSON,
                &with(r#","token_type":"BearerToken","expires_in":"1799""#),
            ),
            "token_type is `BearerToken`",
        ),
        (
            "eBay",
            raw(
                200,
                JSON,
                &with(r#","token_type":"Application Access Token","expires_in":7200"#),
            ),
            "token_type is `Application Access Token`",
        ),
        (
            "jwt-bearer",
            raw(200, JSON, &with(r#","token_type":"jwt-bearer""#)),
            "token_type is `jwt-bearer`",
        ),
        ("201", raw(201, JSON, &bearer()), "status is 201"),
        (
            "a BOM",
            raw(200, JSON, &[b"\xef\xbb\xbf", bearer().as_slice()].concat()),
            "byte order mark",
        ),
        (
            "gzip",
            raw(200, &format!("{JSON}Content-Encoding: gzip\r\n"), GZIP),
            "compressed",
        ),
        (
            "twice",
            raw(
                200,
                JSON,
                &with(&format!(
                    r#","access_token":"{TOKEN}","token_type":"Bearer""#
                )),
            ),
            "repeated",
        ),
        (
            "expires_in 0",
            raw(200, JSON, &with(r#","token_type":"Bearer","expires_in":0"#)),
            "expires_in",
        ),
        (
            "a form",
            raw(200, "Content-Type: text/plain\r\n", form.as_bytes()),
            "a form",
        ),
    ] {
        let world = world("", "").await;
        let mark = logs::mark();
        world.authority.behave(Endpoint::Token, answer);
        let answer = world.get("/").await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert_eq!(world.upstream.received()[0].bearer(), Some(TOKEN), "{name}");
        logs::wait_for_line(mark, &["WARN", "token answer deviates", told]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expires_in_of_minus_one_means_the_exp_of_the_jwt() {
    let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{}}}"#, now() + 1000));
    let token = format!("e30.{claims}.c2ln");
    logs::remember_secret(&token);
    let world = world("", "").await;
    let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":-1}}"#);
    world.authority.behave(Endpoint::Token, Behave::Body(body));
    assert_eq!(world.get("/").await.status, 200);
    let metrics = crate::support::client::get(world.sidecar.address("probes"), "/metrics", &[])
        .await
        .text();
    let line = metrics
        .lines()
        .find(|line| line.starts_with("m2m_credential_expiry_seconds"))
        .unwrap();
    let left: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((900.0..=1001.0).contains(&left), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_a_bearer_token_is_refused_and_retried_slowly() {
    let unusable = ["mac", "DPoP", "PoP", "N_A"].map(|kind| {
        format!(r#"{{"access_token":"never-attached","token_type":"{kind}","expires_in":60}}"#)
    });
    let errors = [
        r#"{"error":"invalid_client"}"#,
        r#"{"error":"something_else"}"#,
        "{}",
        "<html>wait</html>",
    ];
    let bodies = unusable.into_iter().chain(errors.map(str::to_owned));
    let cells = bodies.map(|body| async move {
        let world = world("", "").await;
        let mark = logs::mark();
        world
            .authority
            .behave(Endpoint::Token, Behave::Body(body.clone()));
        let began = Instant::now();
        while world.authority.fetches(Endpoint::Token) < 2 {
            let answer = world.get("/").await;
            assert_eq!(
                (answer.status, answer.header("x-m2m-reason")),
                (503, Some("token_unavailable")),
                "{body}"
            );
            assert!(answer.header("retry-after").is_some(), "{body}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(world.upstream.received().is_empty(), "{body}");
        // At once, after 2 s, after 4 s more, and so on; each pause is up to a tenth shorter.
        let asked = world.authority.fetches(Endpoint::Token);
        let most = [0.0, 1.8, 5.4, 12.6, 27.0]
            .iter()
            .filter(|at| **at <= began.elapsed().as_secs_f64())
            .count();
        assert!((2..=most).contains(&asked), "{body}: {asked} of {most}");
        logs::wait_for_line(mark, &["no access token fetched"]).await;
    });
    futures_util::future::join_all(cells).await;
}
