//! Upstreams that read no tokens, and get a credential of the sidecar instead.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::outcome;
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{RawAnswer, get, request};
use crate::support::http2_upstream::{Act, Http2Upstream, field};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::{Answer, Upstream};
use crate::support::websocket::{ManualUpstream, answered, connect, handshake};
use crate::support::{AUDIENCE, logs, until};

const SECRET: &str = "the-secret-of-the-service";
const BASIC: &str = "{ basic: { user: sidecar, passwordFile: \"@DIR@/secret\" } }";
const BEARER: &str = "{ bearerFile: \"@DIR@/secret\" }";
const KEY: &str = "{ header: X-Api-Key, valueFile: \"@DIR@/secret\" }";

struct World {
    authority: Authority,
    sidecar: Sidecar,
}

async fn world(upstream: &str, form: &str, more: &str) -> World {
    let authority = Authority::start();
    let yaml = format!(
        r#"
threads: 1
stateDir: "@DIR@"
authorities: {{ users: {{ issuer: "{}" }} }}
inbound:
  - name: api
    listen: 127.0.0.1:0
    upstream: "{upstream}"
    upstreamAuthorization: {form}
    authorities: [users]
    audiences: [{AUDIENCE}]
    rules:
      - {{ paths: ["/public/**"], access: public }}
      - {{ paths: ["/optional/**"], access: optional }}
      - {{ paths: ["/new/**"], scopes: [new], mode: shadow }}
      - {{ paths: ["/**"], scopes: ["devices:read"] }}
{more}
"#,
        authority.issuer()
    );
    logs::remember_secret(&STANDARD.encode(format!("sidecar:{SECRET}")));
    let builder = Sidecar::builder().secret_file("secret", "sidecar", SECRET);
    let sidecar = builder.start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    World { authority, sidecar }
}

/// The header of each form, and its value with this secret.
fn forms(secret: &str) -> [(&'static str, &'static str, String); 3] {
    let basic = STANDARD.encode(format!("sidecar:{secret}"));
    [
        (BASIC, "authorization", format!("Basic {basic}")),
        (BEARER, "authorization", format!("Bearer {secret}")),
        (KEY, "x-api-key", secret.to_owned()),
    ]
}

impl World {
    async fn send(&self, target: &str, headers: &[(&str, &str)]) -> RawAnswer {
        request("GET", self.sidecar.address("api"), target, headers, b"").await
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.authority.token().sign())
    }
}

/// Spellings that an upstream could read as one of the two headers.
const SPELLINGS: [&str; 8] = [
    "X-Api-Key",
    "x_api_key",
    "X.Api.Key",
    "Grpc-Metadata-X-Api-Key",
    "Grpc-Metadata-Authorization",
    "Grpc-Metadata-authorization",
    "x-api_key",
    "X-API-KEY",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_the_credential_instead_of_the_token() {
    for (form, name, value) in forms(SECRET) {
        let upstream = Upstream::start();
        let world = world(&upstream.url(), form, "").await;
        let bearer = world.bearer();
        let forged = SPELLINGS.map(|name| (name, "forged"));
        let headers = [&[("Authorization", bearer.as_str())][..], &forged].concat();
        let answer = world.send("/x", &headers).await;
        assert_eq!(outcome(&answer), (200, ""), "{form}");
        let seen = upstream.received().pop().unwrap();
        assert_eq!(seen.all(name), [value.as_str()], "{form}");
        assert_eq!(seen.header("x-m2m-subject"), Some("tester"));
        let text = String::from_utf8_lossy(&seen.head).to_lowercase();
        assert!(!text.contains("x_api_key: forged") || form != KEY, "{text}");
        assert!(!text.contains("grpc-metadata-authorization"), "{text}");
        assert!(!text.contains(&bearer.to_lowercase()), "{form}");
        if form == KEY {
            assert_eq!(seen.all("authorization"), [""; 0]);
            assert!(!text.contains("forged"), "{text}");
        }
        if form == KEY {
            // A client cannot remove it either.
            let headers = [
                ("Authorization", bearer.as_str()),
                ("Connection", "x-api-key"),
            ];
            assert_eq!(outcome(&world.send("/x", &headers).await), (200, ""));
            let seen = upstream.received().pop().unwrap();
            assert_eq!(seen.all(name), [value.as_str()]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_requests_with_a_verified_token_carry_the_credential() {
    for (form, name, value) in forms(SECRET) {
        let upstream = Upstream::start();
        let world = world(&upstream.url(), form, "").await;
        let bearer = world.bearer();
        let token = Some(bearer.as_str());
        for (target, token, carries) in [
            ("/public/x", None, false),
            ("/public/x", token, false),
            ("/optional/x", None, false),
            ("/optional/x", token, true),
            ("/new/x", None, false),
            ("/new/x", Some("Bearer a.b.c"), false),
            // Valid, but without the scope of the rule.
            ("/new/x", token, true),
        ] {
            let headers: Vec<_> = (token.iter().map(|it| ("Authorization", *it)))
                .chain((form == KEY).then_some(("X-Api-Key", "forged")))
                .collect();
            assert_eq!(outcome(&world.send(target, &headers).await), (200, ""));
            let seen = upstream.received().pop().unwrap();
            let expected = if carries {
                vec![value.as_str()]
            } else {
                vec![]
            };
            assert_eq!(seen.all(name), expected, "{form} {target}");
            if name != "authorization" {
                assert_eq!(seen.all("authorization"), [""; 0], "{target}");
            }
        }
        let refused = world.send("/x", &[]).await;
        assert_eq!(outcome(&refused), (401, "no_token"));
        assert_eq!(upstream.received().len(), 7);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_secret_is_used_at_once_and_a_broken_one_changes_nothing() {
    const NEW: &str = "the-next-secret-of-the-service";
    for ((form, name, old), (_, _, new)) in forms(SECRET).into_iter().zip(forms(NEW)) {
        logs::remember_secret(NEW);
        logs::remember_secret(&STANDARD.encode(format!("sidecar:{NEW}")));
        let upstream = Upstream::start();
        let world = world(&upstream.url(), form, "").await;
        let bearer = world.bearer();
        let sent = async || {
            world
                .send("/x", &[("Authorization", bearer.as_str())])
                .await;
            let seen = upstream.received().pop().unwrap();
            seen.all(name).concat()
        };
        assert_eq!(sent().await, old);
        let file = world.sidecar.path("secret");
        let mark = logs::mark();
        std::fs::write(&file, "two\nlines").unwrap();
        let words = [
            "a changed file cannot be used",
            "upstream credential of api",
        ];
        logs::wait_for_line(mark, &words).await;
        assert_eq!(sent().await, old);
        let mark = logs::mark();
        std::fs::write(&file, format!("{NEW}\n")).unwrap();
        let words = ["took over a changed file", "upstream credential of api"];
        logs::wait_for_line(mark, &words).await;
        assert_eq!(sent().await, new);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_place_of_the_callers_token_is_emptied() {
    let keys = "    tokenLocations: [authorization, basic, websocketCookie, websocketSubprotocol]
    allowedOrigins: [\"https://app.example\"]";
    for (form, name, value) in forms(SECRET) {
        let upstream = ManualUpstream::start();
        let world = world(&upstream.url(), form, keys).await;
        let address = world.sidecar.address("api");
        let token = world.authority.token().sign();
        let basic = STANDARD.encode(format!("git:{token}"));
        logs::remember_secret(&basic);
        for fields in [
            format!("Authorization: Bearer {token}\r\n"),
            format!("Authorization: Basic {basic}\r\n"),
            format!("Cookie: token={token}; a=1\r\n"),
            format!("Sec-WebSocket-Protocol: Bearer, {token}\r\n"),
        ] {
            let mut client = connect(address, handshake("/events", &fields)).await;
            let (seen, _server) = upstream.accept("").await;
            assert_eq!(seen.all(name), [value.as_str()], "{form}");
            let text = String::from_utf8_lossy(&seen.raw);
            assert!(!text.contains(&token) && !text.contains(&basic), "{form}");
            let (status, head) = answered(&mut client).await;
            let selected = fields.starts_with("Sec-").then_some("Bearer");
            assert_eq!(status, 101);
            assert_eq!(
                head.all("sec-websocket-protocol").first().copied(),
                selected
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_over_http_2_gets_the_credential_too() {
    for (form, name, value) in forms(SECRET) {
        let upstream = Http2Upstream::start(|_| Act::Echo);
        let world = world(&upstream.url(), form, "").await;
        let bearer = world.bearer();
        let headers = [("Authorization", bearer.as_str())];
        assert_eq!(world.send("/a.B/C", &headers).await.status, 200);
        let seen = upstream.received().pop().unwrap();
        assert_eq!(field(&seen, name), Some(value.as_str()), "{form}");
        assert_eq!(seen.head.headers.get_all(name).iter().count(), 1);
        assert_eq!(field(&seen, "x-m2m-subject"), Some("tester"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_request_carries_the_credential_of_its_moment() {
    let (form, name, value) = forms(SECRET)[0].clone();
    let upstream = Upstream::start();
    let world = world(&upstream.url(), form, "").await;
    let bearer = world.bearer();
    let headers = [("Authorization", bearer.as_str())];
    assert_eq!(world.send("/x", &headers).await.status, 200);
    // The used connection ends without a byte of the answer, so the GET is sent again.
    upstream.next(Answer::Close);
    assert_eq!(world.send("/x", &headers).await.status, 200);
    let received = upstream.received();
    assert_eq!(received.len(), 3);
    assert!(received.iter().all(|it| it.all(name) == [value.as_str()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_sidecar_takes_over_another_form() {
    let upstream = Upstream::start();
    let world = world(&upstream.url(), BEARER, "").await;
    let bearer = world.bearer();
    let mut sidecar = world.sidecar;
    let yaml = std::fs::read_to_string(sidecar.path("sidecar.yaml")).unwrap();
    assert!(yaml.contains("bearerFile"));
    let dir = sidecar.dir().to_str().unwrap().to_owned();
    let (from, to) = (BEARER.replace("@DIR@", &dir), KEY.replace("@DIR@", &dir));
    sidecar.replace(&yaml.replace(&from, &to)).await.unwrap();
    let address = sidecar.address("api");
    until("the new form is used", async || {
        get(address, "/x", &[("Authorization", bearer.as_str())]).await;
        let seen = upstream.received().pop().unwrap();
        seen.all("x-api-key") == [SECRET] && seen.all("authorization").is_empty()
    })
    .await;
}
