//! The audit lines and the observer.

use super::*;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn each_request_is_recorded_once_without_secrets() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    // With one dispatcher, tracing caches for all threads whether the first thread that passes a
    // line has a subscriber; tests on other threads pass the same lines. With two it asks each.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _guard = tracing::subscriber::set_default(subscriber);
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&outcomes);
    let observer: Observer = Arc::new(move |outcome| seen.lock().unwrap().push(outcome.clone()));
    let router = issuer_router(
        issuer().await,
        Placement::BasePath,
        RequestedCertificates::default(),
        observer,
        no_callers(),
    );
    let token_request = |authorization: String, body: &'static str| {
        let request = Request::post("/m2m/oauth/token").header(CONTENT_TYPE, FORM);
        request
            .header(AUTHORIZATION, authorization)
            .body(Body::from(body))
            .unwrap()
    };
    let issued = send(
        &router,
        token_request(
            basic("legacy", "s3cret:%+"),
            "grant_type=client_credentials",
        ),
    )
    .await;
    send(
        &router,
        token_request(basic("legacy", "wr0ng"), "grant_type=client_credentials"),
    )
    .await;
    send(
        &router,
        token_request(basic("unknown", "wr0ng"), "grant_type=client_credentials"),
    )
    .await;
    send(
        &router,
        token_request(basic("bare", "s"), "grant_type=0wn&scope=0wn"),
    )
    .await;
    send(&router, token_request(basic("bare", "s"), "scope=0wn")).await;

    let client = |id: &str| Some(id.to_owned());
    let grant = Some(GrantType::ClientCredentials);
    let expected = [
        (client("legacy"), grant, None),
        (client("legacy"), grant, Some(ErrorCode::InvalidClient)),
        (None, grant, Some(ErrorCode::InvalidClient)),
        (client("bare"), None, Some(ErrorCode::UnsupportedGrantType)),
        (None, None, Some(ErrorCode::InvalidRequest)),
    ]
    .map(|(client_id, grant_type, error)| Outcome {
        client_id,
        grant_type,
        error,
    });
    assert_eq!(*outcomes.lock().unwrap(), expected);

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let token = issued.body["access_token"].as_str().unwrap();
    for hidden in ["s3cret", "wr0ng", "0wn", token, "PRIVATE KEY"] {
        assert!(!log.contains(hidden), "{hidden}");
    }
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let audit = lines
        .iter()
        .filter(|line| line["target"] == "audit")
        .map(|line| &line["fields"]);
    // The other line tells of the signing key that was made.
    let audit: Vec<&Value> = audit
        .filter(|fields| fields["message"] == "token request")
        .collect();
    assert_eq!(audit.len(), 5);
    assert_eq!(
        (&audit[0]["outcome"], &audit[0]["client_id"]),
        (&json!("issued"), &json!("legacy"))
    );
    assert!(audit[0]["jti"].is_string());
    assert_eq!(audit[2]["outcome"], "invalid_client");
    assert!(audit[2].get("client_id").is_none() && audit[2].get("jti").is_none());
    // The id that was presented is not taken for a client's.
    assert_eq!(audit[2]["presented_id"], "unknown");
    assert_eq!(log.matches("unknown").count(), 1);
    assert_eq!(audit[4]["reason"], "grant_type is missing");
}
