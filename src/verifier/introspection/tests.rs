use super::*;
use crate::domain::clock::SystemClock;

fn introspection() -> Introspection {
    let config = IntrospectionConfig {
        url: Url::parse("https://idp.example/introspect").unwrap(),
        client: ConfiguredClient::Anonymous,
        prefix: None,
        cache: Duration::from_secs(30),
    };
    let issuer = IssuerName::exact("https://idp.example");
    Introspection::new(config, issuer, None, Arc::new(SystemClock))
}

#[tokio::test]
async fn without_the_task_no_more_questions_wait_than_the_queue_holds() {
    let introspection = introspection();
    let (mut waiting, mut limited) = (0, 0);
    for n in 0..3000 {
        let token = SecretString::from(format!("opaque-{n}"));
        let bearer = BearerToken::parse(&token).unwrap();
        let digest = KeyedDigest::of(bearer.text().as_bytes());
        match introspection.join(&bearer, digest, Duration::from_secs(30)) {
            Joined::Flight(_) => waiting += 1,
            Joined::Known(Err(Reason::IntrospectionLimited)) => limited += 1,
            Joined::Known(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((waiting, limited), (MAX_WAITING, 3000 - MAX_WAITING));
    assert_eq!(lock(&introspection.flights).len(), MAX_WAITING);
}
