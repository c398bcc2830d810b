//! What checking secrets does, in which order, and what it remembers.

use std::sync::atomic::{AtomicI64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::json;

use super::secrets::Operation::{self, Argon2, CheckDelay, Compare, LookUp, NoteFailure, Recall};
use super::*;
use crate::domain::clock::{Clock, UnixTime};
use crate::domain::secret::{LineEnd, SecretString};
use crate::issuer::client::Secret;
use crate::issuer::client_secret::{generate, hashed};
use crate::issuer::tests::{NOW, client, config};
use crate::issuer::{Issuer, TokenRequest};
use crate::jose::Algorithm;
use crate::jose::sign::SigningKey;
use crate::store::{self, StoredClient, StoredSecret};

mod exchange;

struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }
}

/// An issuer with a client `configured` and what a test puts into its store.
struct World {
    issuer: Arc<Issuer>,
    store: Arc<dyn Store>,
    clock: Arc<TestClock>,
}

const SUPPLIED: &str = "correct horse battery";

fn stored(id: &str, document: serde_json::Value, secrets: Vec<StoredSecret>) -> StoredClient {
    let now = UnixTime(NOW);
    let (client_id, version) = (id.to_owned(), 1);
    StoredClient {
        client_id,
        document,
        version,
        created_at: now,
        updated_at: now,
        secrets,
    }
}

impl World {
    async fn new() -> Self {
        Self::with(vec![client("configured", "c0nfigured")]).await
    }

    async fn with(clients: Vec<Client>) -> Self {
        let store = store::open(&store::Config::SqliteMemory).await.unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(NOW)));
        let config = config(clients);
        let issuer = Issuer::open(config, store.clone(), clock.clone())
            .await
            .unwrap();
        Self {
            issuer,
            store,
            clock,
        }
    }

    async fn add(&self, id: &str, document: serde_json::Value, secrets: Vec<StoredSecret>) {
        assert!(
            self.store
                .insert_client(&stored(id, document, secrets))
                .await
                .unwrap()
        );
        self.issuer.reload().await.unwrap();
    }

    /// A client with a supplied secret; gives that secret's id.
    async fn add_supplied(&self, id: &str) -> String {
        let secret = hashed(SUPPLIED.into(), &[], UnixTime(NOW), None)
            .await
            .unwrap();
        let secret_id = secret.secret_id.clone();
        self.add(
            id,
            json!({"grant_types": ["client_credentials"]}),
            vec![secret],
        )
        .await;
        secret_id
    }

    async fn ask_from(&self, basic: &str, from: &str) -> Result<(), TokenError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        let basic = format!("Basic {}", STANDARD.encode(basic));
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&basic).unwrap());
        let request = TokenRequest::parse(&headers, b"grant_type=client_credentials").unwrap();
        self.issuer
            .issue(&request, Some(from.parse().unwrap()))
            .await
            .map(|_| ())
    }

    async fn ask(&self, basic: &str) -> Result<(), TokenError> {
        self.ask_from(basic, "192.0.2.1").await
    }

    /// What was done since this was last asked.
    fn done(&self) -> Vec<Operation> {
        std::mem::take(&mut *self.issuer.client_auth.secrets.done.lock().unwrap())
    }

    fn forward(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

const REFUSED: Result<(), TokenError> = Err(TokenError::InvalidClient { basic: true });

#[tokio::test]
async fn unknown_clients_and_wrong_secrets_do_the_same_operations() {
    let world = World::new().await;
    let document = |extra: serde_json::Value| {
        let mut document = json!({"grant_types": ["client_credentials"]});
        document
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        document
    };
    let (generated, stored) = generate(UnixTime(NOW), None);
    let generated = generated.expose_secret();
    world.add("quick", document(json!({})), vec![stored]).await;
    let old = generate(UnixTime(NOW), Some(UnixTime(NOW))).1;
    world.add("old", document(json!({})), vec![old]).await;
    let off = generate(UnixTime(NOW), None).1;
    world
        .add("off", document(json!({"disabled": true})), vec![off])
        .await;
    let over = generate(UnixTime(NOW), None).1;
    world
        .add("over", document(json!({"expires_at": NOW})), vec![over])
        .await;
    let jwk = SigningKey::generate(Algorithm::ES256).unwrap().public_jwk();
    let (assertion_secret, kept) = generate(UnixTime(NOW), None);
    let keyed = document(json!({"jwks": {"keys": [jwk]}}));
    world.add("keyed", keyed, vec![kept]).await;
    let right_but_keyed = ["keyed:", assertion_secret.expose_secret()].concat();
    let ids = [
        "nobody",
        "configured",
        "quick",
        "old",
        "off",
        "over",
        "keyed",
    ];
    let mut wrong: Vec<String> = ids.iter().map(|id| format!("{id}:wrong")).collect();
    wrong.push(right_but_keyed);
    for basic in &wrong {
        assert_eq!(world.ask(basic).await, REFUSED, "{basic}");
        assert_eq!(
            world.done(),
            [CheckDelay, LookUp, Recall, Compare, NoteFailure],
            "{basic}"
        );
    }
    // One client of the store with a supplied secret, and everyone pays for it.
    world.add_supplied("slow").await;
    wrong.push("slow:wrong".to_owned());
    for basic in &wrong {
        assert_eq!(world.ask(basic).await, REFUSED, "{basic}");
        assert_eq!(
            world.done(),
            [CheckDelay, LookUp, Recall, Compare, Argon2, NoteFailure],
            "{basic}"
        );
    }
    // Two readings of the header are two of everything.
    for basic in ["nobody:wr%20ng", "slow:wr%20ng"] {
        assert_eq!(world.ask(basic).await, REFUSED);
        let both = [LookUp, Recall, Compare, LookUp, Recall, Compare];
        let all = [&[CheckDelay], &both[..], &[Argon2, Argon2, NoteFailure]].concat();
        assert_eq!(world.done(), all, "{basic}");
    }
    // What is right is found without it.
    assert_eq!(world.ask(&format!("quick:{generated}")).await, Ok(()));
    assert_eq!(world.ask("configured:c0nfigured").await, Ok(()));
    assert!(!world.done().contains(&Argon2));
    assert_eq!(
        world.ask("keyed:").await,
        REFUSED,
        "no secret is none either"
    );
}

#[tokio::test]
async fn a_supplied_secret_is_hashed_once_and_known_while_it_is_live() {
    let world = World::new().await;
    let secret_id = world.add_supplied("slow").await;
    let right = format!("slow:{SUPPLIED}");
    assert_eq!(world.ask(&right).await, Ok(()));
    assert_eq!(world.done(), [CheckDelay, LookUp, Recall, Compare, Argon2]);
    for _ in 0..3 {
        assert_eq!(world.ask(&right).await, Ok(()));
        assert_eq!(world.done(), [CheckDelay, LookUp, Recall, Compare]);
    }
    // Two more secrets, one of them with the same salt: still one evaluation.
    let slow = world.store.client("slow").await.unwrap().unwrap();
    let second = hashed(
        "another secret of it".into(),
        &slow.secrets,
        UnixTime(NOW),
        None,
    )
    .await
    .unwrap();
    assert!(
        world
            .store
            .insert_secret(&slow, &second, None)
            .await
            .unwrap()
    );
    world.issuer.reload().await.unwrap();
    assert_eq!(world.ask("slow:another secret of it").await, Ok(()));
    assert_eq!(world.done(), [CheckDelay, LookUp, Recall, Compare, Argon2]);
    // What was proven counts only as long as that very secret is there.
    let deleted = world
        .store
        .delete_secret("slow", &secret_id, None)
        .await
        .unwrap();
    assert_eq!(deleted, store::DeletedSecret::Done);
    world.issuer.reload().await.unwrap();
    assert_eq!(world.ask(&right).await, REFUSED);
    assert_eq!(world.ask("slow:another secret of it").await, Ok(()));
}

#[tokio::test]
async fn who_fails_again_and_again_waits_and_nothing_is_looked_at() {
    let world = World::new().await;
    world.add_supplied("slow").await;
    let right = format!("slow:{SUPPLIED}");
    for _ in 0..5 {
        assert_eq!(world.ask("slow:wrong").await, REFUSED);
    }
    world.done();
    for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
        let delayed = Err(TokenError::TooManyFailures {
            retry_after: expected,
        });
        assert_eq!(world.ask("slow:wrong").await, delayed);
        // Not even the right one, or the delay would tell which that is.
        assert_eq!(world.ask(&right).await, delayed);
        assert!(
            !world
                .done()
                .iter()
                .any(|done| matches!(done, Compare | Argon2)),
            "nothing is compared"
        );
        // Neither other addresses nor other clients are concerned.
        assert_eq!(world.ask_from("slow:wrong", "192.0.2.77").await, REFUSED);
        assert_eq!(world.ask("configured:c0nfigured").await, Ok(()));
        world.forward(expected.into());
        assert_eq!(world.ask_from(&right, "192.0.2.77").await, Ok(()));
        assert_eq!(world.ask("slow:wrong").await, REFUSED);
        world.done();
        world.issuer.client_auth.secrets.forget_proven();
    }
    world.forward(60);
    assert_eq!(world.ask(&right).await, Ok(()));
    for _ in 0..5 {
        assert_eq!(
            world.ask("slow:wrong").await,
            REFUSED,
            "the success has ended the row"
        );
    }
    // What was proven is never delayed, and ends nobody's row.
    assert_eq!(world.ask(&right).await, Ok(()));
    assert_eq!(
        world.ask("slow:wrong").await,
        Err(TokenError::TooManyFailures { retry_after: 1 })
    );
    world.forward(15 * 60);
    assert_eq!(
        world.ask("slow:wrong").await,
        REFUSED,
        "forgotten after a quarter of an hour"
    );
}

/// One that a file or a person supplied, however long, is one that can be guessed.
#[tokio::test]
async fn a_secret_that_was_right_elsewhere_is_no_easier_to_guess() {
    const LONG: &str = "Backend-Password-of-Production-004242";
    let world = World::with(vec![
        client("short", "Backend-Pass-004242"),
        client("long", LONG),
    ])
    .await;
    world.add_supplied("slow").await;
    for (number, (id, secret)) in [
        ("short", "Backend-Pass-004242"),
        ("long", LONG),
        ("slow", SUPPLIED),
    ]
    .into_iter()
    .enumerate()
    {
        let (owner, guesser) = (format!("192.0.2.{number}"), format!("198.51.100.{number}"));
        let right = format!("{id}:{secret}");
        assert_eq!(world.ask_from(&right, &owner).await, Ok(()));
        for _ in 0..5 {
            assert_eq!(
                world.ask_from(&format!("{id}:wrong"), &guesser).await,
                REFUSED
            );
        }
        let delayed = Err(TokenError::TooManyFailures { retry_after: 1 });
        for guess in ["a guess", "another guess", secret] {
            assert_eq!(
                world.ask_from(&format!("{id}:{guess}"), &guesser).await,
                delayed,
                "{id}"
            );
        }
        // Its owner is let in where it was before, also when others fail there.
        for _ in 0..50 {
            world
                .ask_from(&format!("{id}:wrong"), &owner)
                .await
                .unwrap_err();
            assert_eq!(world.ask_from(&right, &owner).await, Ok(()), "{id}");
        }
        // Others who fail there, and go on, find nothing.
        for _ in 0..300 {
            world
                .ask_from(&format!("{id}:wrong"), &owner)
                .await
                .unwrap_err();
        }
        let waits = world.ask_from(&right, &owner).await;
        assert!(
            matches!(waits, Err(TokenError::TooManyFailures { .. })),
            "{id}: {waits:?}"
        );
        world.forward(60);
        assert_eq!(world.ask_from(&right, &owner).await, Ok(()), "{id}");
    }
}

#[tokio::test]
async fn an_address_that_tries_many_ids_waits_and_nothing_is_hashed_meanwhile() {
    let world = World::new().await;
    world.add_supplied("slow").await;
    let (generated, stored) = generate(UnixTime(NOW), None);
    world
        .add(
            "quick",
            json!({"grant_types": ["client_credentials"]}),
            vec![stored],
        )
        .await;
    let mut hashed = 0;
    for number in 0..60 {
        world
            .ask(&format!("stranger-{number}:wrong"))
            .await
            .unwrap_err();
        hashed += world.done().iter().filter(|done| **done == Argon2).count();
    }
    assert_eq!(hashed, 30);
    let delayed = Err(TokenError::TooManyFailures { retry_after: 1 });
    assert_eq!(
        world.ask("configured:c0nfigured").await,
        delayed,
        "it could be the next guess"
    );
    assert_eq!(
        world
            .ask(&["quick:", generated.expose_secret()].concat())
            .await,
        Ok(())
    );
    assert_eq!(
        world
            .ask_from("configured:c0nfigured", "198.51.100.1")
            .await,
        Ok(())
    );
    world.forward(1);
    assert_eq!(
        world.ask("configured:c0nfigured").await,
        Ok(()),
        "one in a second is judged"
    );
    for number in 0..60 {
        world
            .ask(&format!("stranger-{number}:wrong"))
            .await
            .unwrap_err();
    }
    assert_eq!(
        world.ask("configured:c0nfigured").await,
        Ok(()),
        "it was right from there"
    );
}

#[tokio::test]
async fn a_generated_secret_passes_the_delay_with_the_line_end_of_its_file_too() {
    let generated = generate(UnixTime(NOW), None).0;
    let text = generated.expose_secret().to_owned();
    let secret = Secret {
        line_end: LineEnd::Lf,
        ..Secret::configured(generated)
    };
    let world = World::with(vec![Client {
        secrets: vec![secret],
        ..client("file", "s3cret")
    }])
    .await;
    for _ in 0..5 {
        assert_eq!(world.ask("file:wrong").await, REFUSED);
    }
    let delayed = Err(TokenError::TooManyFailures { retry_after: 1 });
    for other in [
        format!("file:{text}\n\n"),
        format!("file:{text}\r\n"),
        "file:s3cret\n".to_owned(),
    ] {
        assert_eq!(world.ask(&other).await, delayed);
    }
    for right in [format!("file:{text}\n"), format!("file:{text}")] {
        assert_eq!(world.ask(&right).await, Ok(()));
    }
}

#[tokio::test]
async fn guesses_that_are_hashed_at_once_tell_no_more_than_those_that_come_one_by_one() {
    let world = World::new().await;
    world.add_supplied("slow").await;
    for _ in 0..4 {
        assert_eq!(world.ask("slow:wrong").await, REFUSED);
    }
    let guesses = ["wrong-1", "wrong-2", "wrong-3", SUPPLIED].map(|secret| {
        let world = &world;
        async move { world.ask(&format!("slow:{secret}")).await }
    });
    let answers = futures_util::future::join_all(guesses).await;
    assert_eq!(answers[0], REFUSED);
    let delayed = Err(TokenError::TooManyFailures { retry_after: 1 });
    assert!(
        answers[1..].iter().all(|answer| *answer == delayed),
        "{answers:?}"
    );
}

/// A `+` is read in two ways, and neither is a way around the other's delay.
#[tokio::test]
async fn every_reading_of_an_id_has_the_delay_of_the_client() {
    let world = World::with(vec![client("svc+a", "s3cret")]).await;
    for _ in 0..5 {
        assert_eq!(world.ask("svc+a:wrong").await, REFUSED);
    }
    let delayed = Err(TokenError::TooManyFailures { retry_after: 1 });
    for spelling in ["svc+a:s3cret", "svc%2Ba:s3cret", "s%76c%2Ba:s3cret"] {
        assert_eq!(world.ask(spelling).await, delayed, "{spelling}");
    }
}

#[tokio::test]
async fn when_a_secret_was_last_used_is_written_at_most_once_a_minute() {
    let world = World::new().await;
    let (secret, stored) = generate(UnixTime(NOW), None);
    world
        .add(
            "quick",
            json!({"grant_types": ["client_credentials"]}),
            vec![stored],
        )
        .await;
    let last_used =
        async || world.store.client("quick").await.unwrap().unwrap().secrets[0].last_used_at;
    let right = ["quick:", secret.expose_secret()].concat();
    world.ask(&right).await.unwrap();
    assert_eq!(last_used().await, None);
    world.issuer.reload().await.unwrap();
    assert_eq!(last_used().await, Some(UnixTime(NOW)));
    world.forward(30);
    world.ask(&right).await.unwrap();
    world.issuer.reload().await.unwrap();
    assert_eq!(last_used().await, Some(UnixTime(NOW)));
    world.forward(30);
    world.issuer.reload().await.unwrap();
    assert_eq!(last_used().await, Some(UnixTime(NOW + 30)));
    let before = world.store.revisions().await.unwrap();
    world.forward(60);
    world.ask("quick:wrong").await.unwrap_err();
    world.issuer.reload().await.unwrap();
    assert_eq!(
        last_used().await,
        Some(UnixTime(NOW + 30)),
        "a failure is no use"
    );
    assert_eq!(world.store.revisions().await.unwrap(), before);
}

#[tokio::test]
async fn a_secret_that_another_process_withdraws_lets_in_for_a_second_at_most() {
    let world = World::new().await;
    let (old, stored) = generate(UnixTime(NOW), None);
    world
        .add(
            "quick",
            json!({"grant_types": ["client_credentials"]}),
            vec![stored],
        )
        .await;
    let right = ["quick:", old.expose_secret()].concat();
    assert_eq!(world.ask(&right).await, Ok(()));
    let client = world.store.client("quick").await.unwrap().unwrap();
    let new = generate(UnixTime(NOW), None).1;
    assert!(
        world
            .store
            .insert_secret(&client, &new, Some(UnixTime(NOW)))
            .await
            .unwrap()
    );
    world.forward(1);
    assert_eq!(world.ask(&right).await, REFUSED);
}

mod keys {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
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
        let sets = ClientKeySets::new(Vec::new(), None);
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
        assert!(sets.current(&keys).await.is_none(), "but not for ever");
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
        let sets = ClientKeySets::new(vec!["127.0.0.1".to_owned()], None);
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
        // When its fetch has ended, nobody waits for it again until the cool-down is over.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let began = Instant::now();
        assert!(sets.current(&dead).await.is_none());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_is_broken_off_does_not_block_the_next_one() {
        let (_dir, keys, sets) = file();
        // Nobody runs it: what is wanted waits until somebody does.
        let idle = ClientKeySets::new(Vec::new(), None);
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
    let [own, own_too, strangers, of_other_kind] =
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
        let presented = Credentials::Assertion(PresentedAssertion { named, jwt });
        let auth = &world.issuer.client_auth;
        auth.nobody.verified.store(0, Ordering::Relaxed);
        let answer = auth
            .authenticate(
                &world.issuer.state.clients,
                Some(&presented),
                None,
                UnixTime(NOW),
            )
            .await;
        (
            answer.unwrap_err().code(),
            auth.nobody.verified.load(Ordering::Relaxed),
        )
    };
    let invalid = crate::domain::oauth::ErrorCode::InvalidClient;
    for (id, typ, key, of_nobody) in [
        ("nobody", "JWT", &strangers, 2),
        ("nobody", "at+jwt", &strangers, 2),
        ("configured", "JWT", &strangers, 2),
        ("off", "JWT", &strangers, 2),
        ("over", "JWT", &own, 2),
        ("keyed", "at+jwt", &strangers, 2),
        ("keyed", "JWT", &of_other_kind, 2),
        ("nobody", "JWT", &of_other_kind, 2),
        ("keyed", "JWT", &strangers, 1),
        ("changing", "JWT", &strangers, 0),
    ] {
        assert_eq!(ask(id, typ, key).await, (invalid, of_nobody), "{id} {typ}");
    }
}

#[test]
fn an_assertion_shown_in_a_log_holds_no_jwt() {
    let shown = format!(
        "{:?}",
        PresentedAssertion {
            named: Vec::new(),
            jwt: SecretString::from("a.secret.jwt")
        }
    );
    assert!(!shown.contains("secret"), "{shown}");
}
