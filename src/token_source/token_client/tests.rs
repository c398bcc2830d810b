use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use url::Url;

use super::*;
use crate::domain::claims::Claims;
use crate::domain::clock::SystemClock;
use crate::domain::oauth::BasicEncoding;
use crate::domain::oauth::CLIENT_ASSERTION_TYPE;
use crate::domain::scope::ScopeSet;
use crate::jose::Algorithm;
use crate::jose::sign::SigningKey;
use crate::token_source::AudienceParameter;
use crate::token_source::PrivateKeyJwt;
use crate::token_source::testing::{self, Authority, config};

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

async fn fetch_all(config: &Config, times: usize) -> Vec<Result<String, FetchError>> {
    let clock: SharedClock = Arc::new(SystemClock);
    let skew = Skew::default();
    let client = TokenClient::new(config, &clock, &skew, Material::load(config).unwrap());
    let mut results = Vec::new();
    for _ in 0..times {
        let result = client.fetch().await;
        results.push(
            result
                .map(|g| g.token.expose_secret().to_owned())
                .map_err(|f| f.error),
        );
    }
    results
}

fn metadata(authority: &Authority, issuer_path: &str, endpoint: &str) -> String {
    let body = format!(
        r#"{{"issuer":"{}","token_endpoint":"{endpoint}"}}"#,
        authority.url(issuer_path)
    );
    testing::answer(200, &body)
}

#[tokio::test]
async fn basic_authentication_encodes_id_and_secret() {
    let authority = Authority::start().await;
    authority.script([testing::token("t1", 60)]);
    let config = Config {
        client_id: "id:x".into(),
        authentication: testing::secret_basic(testing::secret_file("p@ss wörd\n")),
        scopes: ScopeSet::parse("a b").unwrap(),
        audiences: vec!["https://a.example".into(), "b".into()],
        resources: vec!["https://r.example".into()],
        extra_parameters: vec![("x".into(), "1&2".into())],
        ..config(&authority)
    };
    assert_eq!(fetch_all(&config, 1).await, [Ok("t1".to_owned())]);
    let [request] = authority.requests().try_into().unwrap();
    let basic = STANDARD.encode("id%3Ax:p%40ss+w%C3%B6rd");
    assert!(request.starts_with("POST /token HTTP/1.1\r\n"), "{request}");
    assert!(
        request.contains(&format!("\r\nauthorization: Basic {basic}\r\n")),
        "{request}"
    );
    assert!(
        request.contains("\r\naccept: application/json\r\n"),
        "{request}"
    );
    let body = "grant_type=client_credentials&scope=a+b&audience=https%3A%2F%2Fa.example&audience=b\
                &resource=https%3A%2F%2Fr.example&x=1%262";
    assert!(request.ends_with(&format!("\r\n\r\n{body}")), "{request}");
}

#[tokio::test]
async fn a_server_that_decodes_nothing_and_reads_aud_gets_both_as_it_reads_them() {
    let authority = Authority::start().await;
    authority.script([testing::token("t1", 60), testing::token("t2", 60)]);
    let secret_file = testing::secret_file("p@ss wörd/+=\n");
    let config = Config {
        client_id: "id x".into(),
        authentication: Authentication::SecretBasic {
            secret_file,
            encoding: BasicEncoding::Raw,
        },
        audiences: vec!["https://a.example".into(), "b".into()],
        audience_parameter: AudienceParameter::Aud,
        ..config(&authority)
    };
    assert_eq!(fetch_all(&config, 1).await, [Ok("t1".to_owned())]);
    fetch_all(
        &Config {
            audiences: Vec::new(),
            ..config
        },
        1,
    )
    .await;
    let [with, without] = authority.requests().try_into().unwrap();
    let basic = STANDARD.encode("id x:p@ss wörd/+=");
    assert!(
        with.contains(&format!("\r\nauthorization: Basic {basic}\r\n")),
        "{with}"
    );
    assert!(
        with.ends_with("\r\n\r\ngrant_type=client_credentials&aud=https%3A%2F%2Fa.example+b"),
        "{with}"
    );
    assert!(
        without.ends_with("\r\n\r\ngrant_type=client_credentials"),
        "{without}"
    );
}

#[tokio::test]
async fn an_id_with_a_colon_is_not_sent_raw() {
    let authority = Authority::start().await;
    let secret_file = testing::secret_file("hunter2");
    let authentication = Authentication::SecretBasic {
        secret_file,
        encoding: BasicEncoding::Raw,
    };
    let config = Config {
        client_id: "id:x".into(),
        authentication,
        ..config(&authority)
    };
    assert_eq!(fetch_all(&config, 1).await, [Err(FetchError::Request)]);
    assert!(authority.requests().is_empty());
}

#[tokio::test]
async fn a_failure_shows_the_message_of_a_status_and_nothing_of_what_was_sent() {
    let secret = "p@ss wörd of 24 bytes";
    let jwt = format!(
        "{}.e30.c2ln",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"a-key"}"#)
    );
    let raw = |secret_file| Authentication::SecretBasic {
        secret_file,
        encoding: BasicEncoding::Raw,
    };
    let encoded = "p%40ss+w%C3%B6rd+of+24+bytes";
    for (authentication, echoes) in [
        (
            testing::secret_basic(testing::secret_file(secret)),
            vec![
                secret.to_owned(),
                encoded.to_owned(),
                STANDARD.encode(format!("legacy:{encoded}")),
            ],
        ),
        (
            raw(testing::secret_file(secret)),
            vec![
                secret.to_owned(),
                STANDARD.encode(format!("legacy:{secret}")),
            ],
        ),
        (
            Authentication::SecretPost {
                secret_file: testing::secret_file(secret),
            },
            vec![
                secret.to_owned(),
                encoded.to_owned(),
                format!("client_secret={encoded}&x"),
            ],
        ),
        (
            Authentication::Assertion {
                file: testing::secret_file(&jwt),
                is_svid: false,
            },
            vec![jwt.clone()],
        ),
    ] {
        let authority = Authority::start().await;
        let status = |message: &str| {
            testing::answer(
                401,
                &serde_json::json!({"code": 16, "message": message}).to_string(),
            )
        };
        let config = Config {
            authentication,
            ..config(&authority)
        };
        let clock: SharedClock = Arc::new(SystemClock);
        let skew = Skew::default();
        let client = TokenClient::new(&config, &clock, &skew, Material::load(&config).unwrap());
        authority.script([status("cannot create token: invalid audience([])")]);
        let told = client.fetch().await.err().unwrap();
        assert_eq!(told.error, FetchError::Status(401));
        let place = authority.url("/token");
        let expected = format!(
            "the authority answered the token request with status 401 ({place}: it says `cannot \
             create token: invalid \
             audience([])`)"
        );
        assert_eq!(told.text(), expected);
        for echo in echoes {
            authority.script([status(&format!("cannot create token: no {echo:?} known"))]);
            let told = client.fetch().await.err().unwrap().text();
            assert!(
                told.contains("left out") && !told.contains(&echo[..8]),
                "{told}"
            );
        }
    }
}

#[tokio::test]
async fn post_authentication_stands_in_the_form_only() {
    let authority = Authority::start().await;
    authority.script([testing::token("t1", 60)]);
    let config = Config {
        authentication: Authentication::SecretPost {
            secret_file: testing::secret_file("hunter2"),
        },
        ..config(&authority)
    };
    fetch_all(&config, 1).await;
    let [request] = authority.requests().try_into().unwrap();
    assert!(
        request.ends_with(
            "\r\n\r\ngrant_type=client_credentials&client_id=legacy&client_secret=hunter2"
        )
    );
    assert!(!request.contains("authorization:"), "{request}");
}

fn key_file() -> (std::path::PathBuf, SigningKey) {
    let key = SigningKey::generate(Algorithm::ES256).unwrap();
    (testing::secret_file(key.to_pem().expose_secret()), key)
}

/// The claims of the assertion in a request.
fn assertion_in(request: &str) -> Claims {
    let form = form_urlencoded::parse(request.rsplit("\r\n\r\n").next().unwrap().as_bytes());
    let fields: Vec<_> = form.into_owned().collect();
    let field = |name: &str| {
        fields
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(field("client_id"), Some("legacy"));
    assert_eq!(field("client_assertion_type"), Some(CLIENT_ASSERTION_TYPE));
    assert!(field("client_secret").is_none());
    let claims = field("client_assertion")
        .unwrap()
        .split('.')
        .nth(1)
        .unwrap()
        .to_owned();
    Claims::parse(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

#[tokio::test]
async fn an_assertion_is_for_the_issuer_else_the_endpoint_unless_told_otherwise() {
    let authority = Authority::start().await;
    let (key_file, _) = key_file();
    let of = |audience: Option<&str>| {
        Authentication::PrivateKeyJwt(PrivateKeyJwt {
            key_file: key_file.clone(),
            algorithm: None,
            kid: None,
            audience: audience.map(str::to_owned),
        })
    };
    let audience = || {
        assertion_in(authority.requests().last().unwrap())
            .string("aud")
            .unwrap()
            .unwrap()
            .to_owned()
    };
    authority.script([testing::token("t1", 60), testing::token("t2", 60)]);
    let config = Config {
        authentication: of(None),
        ..config(&authority)
    };
    fetch_all(&config, 1).await;
    assert_eq!(audience(), authority.url("/token"));
    let told = Config {
        authentication: of(Some("https://told.example")),
        ..config.clone()
    };
    fetch_all(&told, 1).await;
    assert_eq!(audience(), "https://told.example");
    // The issuer as it writes itself, without the slash that ours has.
    authority.script([
        metadata(&authority, "/realm", &authority.url("/token")),
        testing::token("t3", 60),
    ]);
    let endpoint = TokenEndpoint::Discovery(url(&authority.url("/realm/")));
    fetch_all(&Config { endpoint, ..config }, 1).await;
    assert_eq!(audience(), authority.url("/realm"));
}

#[tokio::test]
async fn the_authoritys_clock_counts_where_its_times_are_written_down() {
    // 1994-11-06 08:49:37, the example of RFC 9110 §5.6.7.
    let theirs: i64 = 784_111_777;
    let dated = |status: u16, body: &str| {
        testing::answer(status, body).replacen(
            "\r\n",
            "\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            1,
        )
    };
    let token = format!(
        "e30.{}.c2ln",
        URL_SAFE_NO_PAD.encode(format!(r#"{{"exp":{}}}"#, theirs + 60))
    );
    let authority = Authority::start().await;
    let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer"}}"#);
    authority.script([
        dated(400, r#"{"error":"invalid_client"}"#),
        dated(200, &body),
    ]);
    let (key_file, _) = key_file();
    let of = PrivateKeyJwt {
        key_file,
        algorithm: None,
        kid: None,
        audience: None,
    };
    let config = Config {
        authentication: Authentication::PrivateKeyJwt(of),
        ..config(&authority)
    };
    let clock: SharedClock = Arc::new(SystemClock);
    let skew = Skew::default();
    let client = TokenClient::new(&config, &clock, &skew, Material::load(&config).unwrap());
    assert!(client.fetch().await.is_err());
    assert!(skew.get().unwrap() < -900_000_000);
    // By our clock it died decades ago.
    let grant = client
        .fetch()
        .await
        .map_err(|failure| failure.error)
        .unwrap();
    assert!(
        (58..=61).contains(&grant.lifetime.as_secs()),
        "{:?}",
        grant.lifetime
    );
    let [first, second] = authority.requests().try_into().unwrap();
    let issued = |request: &str| assertion_in(request).numeric_date("iat").unwrap().unwrap();
    assert!(
        issued(&first) > theirs + 900_000_000,
        "nothing is known yet"
    );
    assert!(
        (theirs - 13..=theirs).contains(&issued(&second)),
        "{}",
        issued(&second)
    );
}

#[tokio::test]
async fn discovery_is_remembered_until_the_endpoint_is_gone() {
    let authority = Authority::start().await;
    let found = metadata(&authority, "/realm", &authority.url("/elsewhere"));
    authority.script([
        found.clone(),
        testing::token("t1", 60),
        testing::token("t2", 60),
        testing::answer(404, ""),
        found,
        testing::token("t3", 60),
    ]);
    let endpoint = TokenEndpoint::Discovery(url(&authority.url("/realm/")));
    let results = fetch_all(
        &Config {
            endpoint,
            ..config(&authority)
        },
        4,
    )
    .await;
    let expected = [
        Ok("t1".into()),
        Ok("t2".into()),
        Err(FetchError::Status(404)),
        Ok("t3".into()),
    ];
    assert_eq!(results, expected);
    let asked = authority.requested_paths();
    let well_known = "/realm/.well-known/openid-configuration";
    assert_eq!(
        asked,
        [
            well_known,
            "/elsewhere",
            "/elsewhere",
            "/elsewhere",
            well_known,
            "/elsewhere"
        ]
    );
}

#[tokio::test]
async fn rfc_8414_is_the_second_place_to_look() {
    let authority = Authority::start().await;
    let found = metadata(&authority, "/realm", &authority.url("/token"));
    authority.script([testing::answer(404, ""), found, testing::token("t1", 60)]);
    let endpoint = TokenEndpoint::Discovery(url(&authority.url("/realm")));
    assert_eq!(
        fetch_all(
            &Config {
                endpoint,
                ..config(&authority)
            },
            1
        )
        .await,
        [Ok("t1".to_owned())]
    );
    assert_eq!(
        authority.requested_paths()[1],
        "/.well-known/oauth-authorization-server/realm"
    );
}

#[tokio::test]
async fn no_secret_is_sent_when_metadata_is_not_the_authoritys() {
    let authority = Authority::start().await;
    let endpoint = TokenEndpoint::Discovery(url(&authority.url("/realm")));
    let config = Config {
        endpoint,
        ..config(&authority)
    };
    let other = metadata(&authority, "/other", &authority.url("/token"));
    for (first, second, error) in [
        (other.clone(), other, FetchError::MetadataIssuer),
        (
            testing::answer(200, "<html>"),
            testing::answer(404, ""),
            FetchError::MetadataMalformed,
        ),
        (
            testing::answer(404, ""),
            testing::answer(403, ""),
            FetchError::MetadataStatus(404),
        ),
        (
            testing::answer(404, ""),
            metadata(&authority, "/realm", "nonsense"),
            FetchError::MetadataEndpoint,
        ),
    ] {
        authority.script([first, second]);
        assert_eq!(fetch_all(&config, 1).await, [Err(error)]);
    }
    assert!(
        authority
            .requests()
            .iter()
            .all(|request| request.starts_with("GET "))
    );
}

#[tokio::test]
async fn a_busy_authority_is_not_asked_in_the_second_place() {
    let authority = Authority::start().await;
    authority.script([testing::answer(503, "")]);
    let endpoint = TokenEndpoint::Discovery(url(&authority.url("")));
    let results = fetch_all(
        &Config {
            endpoint,
            ..config(&authority)
        },
        1,
    )
    .await;
    assert_eq!(results, [Err(FetchError::MetadataStatus(503))]);
    assert_eq!(authority.requests().len(), 1);
}
