//! Assertions, and the keys of clients.

use super::*;

mod keys {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::http_client::Egress;
    use crate::issuer::client::{ClientKeys, InvalidClientKeys, KeyPlace};

    fn key_set() -> String {
        json!({ "keys": [SigningKey::generate(Algorithm::ES256).unwrap().public_jwk()] })
            .to_string()
    }

    /// A file with a key set that changes, and what fetches it.
    fn file() -> (tempfile::TempDir, ClientKeys, Arc<ClientKeySets>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jwks.json");
        std::fs::write(&path, key_set()).unwrap();
        let sets = ClientKeySets::new(Vec::new(), None, Egress::default());
        tokio::spawn(sets.clone().run());
        (dir, ClientKeys::At(KeyPlace::File(path)), sets)
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_is_kept_for_a_while_and_asked_for_again_when_a_key_is_missing() {
        let (dir, keys, sets) = file();
        let path = dir.path().join("jwks.json");
        let first = sets.current(&keys).await.unwrap();
        assert!(Arc::ptr_eq(&first, &sets.current(&keys).await.unwrap()));
        std::fs::write(&path, key_set()).unwrap();
        let again = sets.newer(&keys).await.unwrap();
        assert!(Arc::ptr_eq(&first, &again), "it was read only just now");
        tokio::time::advance(Duration::from_secs(1)).await;
        let newer = sets.newer(&keys).await.unwrap();
        assert!(!Arc::ptr_eq(&first, &newer));
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
        let last_good = sets.current(&keys).await.unwrap();
        assert!(
            Arc::ptr_eq(&newer, &last_good),
            "the last good set serves on"
        );
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(sets.current(&keys).await.is_none(), "but not without end");
        std::fs::write(&path, key_set()).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(sets.current(&keys).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_never_answers_costs_its_own_client_a_second_and_others_nothing() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "https://127.0.0.1:{}/jwks",
            listener.local_addr().unwrap().port()
        );
        let dead = ClientKeys::At(KeyPlace::parse_uri(&url).unwrap());
        let sets = ClientKeySets::new(vec!["127.0.0.1".to_owned()], None, Egress::default());
        tokio::spawn(sets.clone().run());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jwks.json");
        std::fs::write(&path, key_set()).unwrap();
        let good = ClientKeys::At(KeyPlace::File(path));
        let began = Instant::now();
        let timed = async |keys: &ClientKeys| {
            let keys = sets.current(keys).await;
            (keys.is_some(), began.elapsed())
        };
        let (dead_first, good_first) = tokio::join!(timed(&dead), timed(&good));
        assert_eq!(dead_first, (false, Duration::from_secs(1)));
        assert!(
            good_first.0 && good_first.1 < Duration::from_secs(1),
            "{good_first:?}"
        );
        // After its fetch, no request waits for it again until the cool-down is over.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let began = Instant::now();
        assert!(sets.current(&dead).await.is_none());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_is_broken_off_does_not_block_the_next_one() {
        let (_dir, keys, sets) = file();
        // Without `run` the requested sets wait.
        let idle = ClientKeySets::new(Vec::new(), None, Egress::default());
        assert!(idle.current(&keys).await.is_none());
        let running = tokio::spawn(idle.clone().run());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(idle.current(&keys).await.is_some());
        running.abort();
        let _ = running.await;
        tokio::spawn(idle.clone().run());
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(idle.current(&keys).await.is_some());
        assert!(sets.current(&keys).await.is_some());
    }

    #[test]
    fn a_key_set_may_hold_keys_of_no_use_beside_one_of_use_and_no_private_one() {
        let good = SigningKey::generate(Algorithm::ES256).unwrap().public_jwk();
        let read = |keys: &[serde_json::Value]| {
            let document = json!({ "keys": keys, "other": 1 }).to_string();
            client_keys::read_key_set(document.as_bytes()).map(|keys| keys.len())
        };
        let foreign = [
            json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}),
            json!({"kty": "OKP", "crv": "X25519", "x": "AA", "use": "enc"}),
            json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}),
            json!("x"),
        ];
        assert_eq!(
            read(&[&foreign[..], std::slice::from_ref(&good)].concat()),
            Ok(1)
        );
        assert_eq!(read(&foreign), Err(InvalidClientKeys::NoUsableKey));
        for (member, value) in [
            ("d", json!("AA")),
            ("k", json!("AA")),
            ("oth", json!([])),
            ("p", json!(null)),
        ] {
            let mut private = good.clone();
            private[member] = value;
            assert_eq!(
                read(&[good.clone(), private]),
                Err(InvalidClientKeys::Secret),
                "{member}"
            );
        }
        assert_eq!(
            read(&vec![good.clone(); 1000]),
            Err(InvalidClientKeys::TooLarge)
        );
        for none in [
            "",
            "[]",
            "{}",
            r#"{"keys":{}}"#,
            "-----BEGIN PUBLIC KEY-----",
        ] {
            let read = client_keys::read_key_set(none.as_bytes()).err();
            assert_eq!(read, Some(InvalidClientKeys::NotAKeySet), "{none}");
        }
    }

    #[test]
    fn only_plain_https_urls_name_a_place() {
        for bad in [
            "http://a.example/jwks",
            "ftp://a.example/jwks",
            "file:///etc/passwd",
            "https://user@a.example/",
            "https://:pass@a.example/",
            "https://a.example/#fragment",
            "https://",
            "a.example/jwks",
            "",
        ] {
            assert_eq!(KeyPlace::parse_uri(bad), None, "{bad}");
        }
        assert!(KeyPlace::parse_uri("https://a.example:8443/jwks?x=1").is_some());
    }
}

/// Whatever is wrong, and whether or not there is such a client: two keys are tried.
#[tokio::test]
async fn assertions_of_unknown_clients_and_wrong_ones_do_the_same_operations() {
    let world = World::new().await;
    let (key, other) = (Algorithm::ES256, Algorithm::EdDSA);
    let [own, own_too, foreign, of_other_kind] =
        [key, key, key, other].map(|algorithm| SigningKey::generate(algorithm).unwrap());
    let document = |keys: &[&SigningKey], extra: serde_json::Value| {
        let keys: Vec<_> = keys.iter().map(|key| key.public_jwk()).collect();
        let mut document = json!({"grant_types": ["client_credentials"], "jwks": {"keys": keys}});
        document
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        document
    };
    world
        .add("keyed", document(&[&own], json!({})), Vec::new())
        .await;
    world
        .add(
            "changing",
            document(&[&own, &own_too], json!({})),
            Vec::new(),
        )
        .await;
    world
        .add(
            "off",
            document(&[&own], json!({"disabled": true})),
            Vec::new(),
        )
        .await;
    world
        .add(
            "over",
            document(&[&own], json!({"expires_at": NOW})),
            Vec::new(),
        )
        .await;
    let claims = |id: &str| json!({"iss": id, "sub": id, "aud": crate::issuer::tests::URL, "exp": NOW + 60, "jti": "j"});
    let ask = async |id: &str, typ: &str, key: &SigningKey| {
        let jwt = key.sign(typ, &claims(id)).unwrap();
        // As an attacker would write it, without the id of a key.
        let jwt = {
            use base64::engine::general_purpose::URL_SAFE_NO_PAD;
            let mut parts: Vec<String> =
                jwt.expose_secret().split('.').map(str::to_owned).collect();
            let header: serde_json::Value =
                serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&parts[0]).unwrap()).unwrap();
            parts[0] =
                URL_SAFE_NO_PAD.encode(json!({"alg": header["alg"], "typ": typ}).to_string());
            SecretString::from(parts.join("."))
        };
        let named = vec![id.to_owned()];
        let presented = Credentials::Assertion(PresentedAssertion {
            named,
            jwt,
            is_svid: false,
        });
        let auth = &world.issuer.client_auth;
        auth.decoy.verified.store(0, Ordering::Relaxed);
        let answer = auth
            .authenticate(
                &world.issuer.state.clients,
                Some(&presented),
                &None.into(),
                UnixTime(NOW),
            )
            .await;
        (
            answer.unwrap_err().code(),
            auth.decoy.verified.load(Ordering::Relaxed),
        )
    };
    let invalid = crate::domain::oauth::ErrorCode::InvalidClient;
    for (id, typ, key, of_decoy) in [
        ("unknown", "JWT", &foreign, 2),
        ("unknown", "at+jwt", &foreign, 2),
        ("configured", "JWT", &foreign, 2),
        ("off", "JWT", &foreign, 2),
        ("over", "JWT", &own, 2),
        ("keyed", "at+jwt", &foreign, 2),
        ("keyed", "JWT", &of_other_kind, 2),
        ("unknown", "JWT", &of_other_kind, 2),
        ("keyed", "JWT", &foreign, 1),
        ("changing", "JWT", &foreign, 0),
    ] {
        assert_eq!(ask(id, typ, key).await, (invalid, of_decoy), "{id} {typ}");
    }
}

#[test]
fn an_assertion_shown_in_a_log_holds_no_jwt() {
    let shown = format!(
        "{:?}",
        PresentedAssertion {
            named: Vec::new(),
            jwt: SecretString::from("a.secret.jwt"),
            is_svid: false,
        }
    );
    assert!(!shown.contains("secret"), "{shown}");
}
