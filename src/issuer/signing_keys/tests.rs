//! The ring and the store together: rotation, several processes, encryption, an absent store.

use std::path::Path;
use std::sync::atomic::AtomicI64;

use serde_json::{Value, json};

use super::*;
use crate::domain::clock::Clock;
use crate::domain::encryption::EncryptionKey;
use crate::domain::secret::ExposeSecret;
use crate::issuer::tests::{NOW, client, config};
use crate::jose::live_keys::Keys;
use crate::jose::verify::Jws;
use crate::store::{self, KeyChange, KeyState};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::Relaxed))
    }
}

async fn memory() -> Arc<dyn Store> {
    store::open(&store::Config::SqliteMemory).await.unwrap()
}

async fn file(path: &Path) -> Arc<dyn Store> {
    store::open(&store::Config::SqliteFile(path.to_owned()))
        .await
        .unwrap()
}

fn encryption(first: u8) -> EncryptionKey {
    let hex: String = (first..first + 32)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    EncryptionKey::parse(&hex.into()).unwrap()
}

async fn open_at(
    config: &Config,
    store: &Arc<dyn Store>,
    now: i64,
) -> Result<SigningKeys, OpenError> {
    SigningKeys::open(
        config,
        store.clone(),
        Arc::new(TestClock(AtomicI64::new(now))),
        UnixTime(now),
    )
    .await
}

/// What `watch_store` does.
async fn reload(keys: &SigningKeys, store: &Arc<dyn Store>, now: i64) {
    let revision = store.revisions().await.unwrap().keys;
    keys.reload(revision, UnixTime(now), UnixTime(now))
        .await
        .unwrap();
}

fn sign(keys: &SigningKeys) -> String {
    keys.sign_with(
        keys.algorithm,
        "at+jwt",
        &json!({"sub": "x"}),
        Duration::from_secs(60),
    )
    .unwrap()
    .expose_secret()
    .to_owned()
}

fn kid(token: &str) -> String {
    Jws::parse(token).unwrap().kid().unwrap().to_owned()
}

/// Whether a token verifies with a key set.
fn verifies(token: &str, keys: &KeySet) -> bool {
    let jws = Jws::parse(token).unwrap();
    keys.candidates(jws.kid(), jws.algorithm())
        .is_ok_and(|keys| keys.iter().any(|key| jws.verify(key)))
}

fn published(keys: &SigningKeys) -> KeySet {
    KeySet::parse(keys.public().as_bytes()).unwrap()
}

fn states(keys: &SigningKeys) -> Vec<KeyState> {
    keys.views().iter().map(|view| view.state).collect()
}

#[tokio::test]
async fn every_algorithm_signs_what_its_key_set_verifies_before_during_and_after_a_rotation() {
    for &algorithm in crate::jose::ALGORITHMS {
        let store = memory().await;
        let config = Config {
            algorithm,
            ..config(Vec::new())
        };
        let keys = open_at(&config, &store, NOW).await.unwrap();
        let first = sign(&keys);
        assert_eq!(Jws::parse(&first).unwrap().algorithm(), algorithm);
        assert!(verifies(&first, &published(&keys)), "{algorithm:?}");
        reload(&keys, &store, NOW + 30 * DAY - HOUR).await;
        assert_eq!(
            states(&keys),
            [KeyState::Active, KeyState::Next],
            "{algorithm:?}"
        );
        let known_before = published(&keys);
        assert_eq!(kid(&sign(&keys)), kid(&first));
        reload(&keys, &store, NOW + 30 * DAY).await;
        let second = sign(&keys);
        assert_ne!(kid(&second), kid(&first));
        assert!(
            verifies(&second, &known_before) && verifies(&first, &published(&keys)),
            "{algorithm:?}"
        );
        reload(&keys, &store, NOW + 30 * DAY + 2 * HOUR + 1).await;
        assert_eq!(states(&keys), [KeyState::Active]);
        assert!(verifies(&second, &published(&keys)) && !verifies(&first, &published(&keys)));
    }
}

#[tokio::test]
async fn a_restart_in_any_state_goes_on_with_the_same_keys() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m2m.db");
    let mut before: Option<String> = None;
    for (at, expected) in [
        (NOW, vec![KeyState::Active]),
        (
            NOW + 30 * DAY - HOUR,
            vec![KeyState::Active, KeyState::Next],
        ),
        (NOW + 30 * DAY, vec![KeyState::Active, KeyState::Retired]),
        (NOW + 30 * DAY + 2 * HOUR + 1, vec![KeyState::Active]),
    ] {
        let store = file(&path).await;
        let keys = open_at(&config(Vec::new()), &store, at).await.unwrap();
        assert_eq!(states(&keys), expected);
        if let Some(before) = &before {
            let is_deleted = expected.len() == 1;
            assert_eq!(verifies(before, &published(&keys)), !is_deleted, "{at}");
        }
        let again = open_at(&config(Vec::new()), &store, at).await.unwrap();
        assert_eq!(again.public(), keys.public());
        before.get_or_insert_with(|| sign(&keys));
    }
}

#[tokio::test]
async fn processes_on_one_store_rotate_once_and_follow_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m2m.db");
    let mut processes = Vec::new();
    for _ in 0..4 {
        let store = file(&path).await;
        processes.push((
            open_at(&config(Vec::new()), &store, NOW).await.unwrap(),
            store,
        ));
    }
    for (at, count) in [
        (NOW, 1),
        (NOW + 30 * DAY - HOUR, 2),
        (NOW + 30 * DAY, 2),
        (NOW + 31 * DAY, 1),
    ] {
        let all = processes
            .iter()
            .map(|(keys, store)| reload(keys, store, at));
        futures_util::future::join_all(all).await;
        // The first process has not seen the changes of the others, and only reads.
        let first = processes[0].1.revisions().await.unwrap();
        for (keys, store) in &processes {
            reload(keys, store, at).await;
            assert_eq!(keys.views().len(), count, "{at}");
            assert_eq!(keys.public(), processes[0].0.public());
            assert_eq!(kid(&sign(keys)), kid(&sign(&processes[0].0)));
        }
        assert_eq!(processes[0].1.revisions().await.unwrap(), first);
    }
}

#[tokio::test]
async fn verifiers_of_the_same_process_know_a_key_before_it_signs() {
    let store = memory().await;
    let keys = open_at(&config(Vec::new()), &store, NOW).await.unwrap();
    let live = keys.live().clone();
    let current = || match live.current() {
        Keys::Usable(keys) => keys,
        Keys::Unavailable => panic!("in-process keys are always there"),
    };
    let first = sign(&keys);
    let views = keys
        .rotate(
            RotateNow {
                now: true,
                withdraw: false,
            },
            UnixTime(NOW + 1),
        )
        .await
        .unwrap();
    let second = sign(&keys);
    assert_eq!(
        (views[0].kid.as_str(), views[0].state),
        (kid(&second).as_str(), KeyState::Active)
    );
    assert_ne!(kid(&first), kid(&second));
    assert!(verifies(&first, &current()) && verifies(&second, &current()));
    assert_eq!(views[1].retired_at, Some(UnixTime(NOW + 1)));
    // The configuration's longest token, and an hour.
    assert_eq!(views[1].published_until, Some(UnixTime(NOW + 1 + 2 * HOUR)));
    keys.rotate(
        RotateNow {
            now: true,
            withdraw: true,
        },
        UnixTime(NOW + 2),
    )
    .await
    .unwrap();
    let third = sign(&keys);
    assert!(
        !verifies(&first, &current())
            && !verifies(&second, &current())
            && verifies(&third, &current())
    );
    assert_eq!(keys.views().len(), 1);
}

#[tokio::test]
async fn a_key_stays_published_as_long_as_the_longest_token_it_signed() {
    let year = Duration::from_secs(366 * 86_400);
    let now = RotateNow {
        now: true,
        withdraw: false,
    };
    // Longest by the configuration of a client; by a token that was signed; by one that never
    // expires.
    for (configured, signed, until) in [
        (Some(year), Duration::ZERO, NOW + 366 * DAY + HOUR),
        (None, year, NOW + 366 * DAY + HOUR),
        (None, Duration::MAX, i64::MAX),
    ] {
        let store = memory().await;
        let client = super::super::Client {
            access_token_lifetime: configured,
            ..client("a", "secret")
        };
        let keys = open_at(&config(vec![client]), &store, NOW).await.unwrap();
        keys.sign_with(keys.algorithm, "at+jwt", &json!({}), signed)
            .unwrap();
        reload(&keys, &store, NOW).await;
        // It is in the store: another process, without such a client, retires it.
        let other = open_at(&config(Vec::new()), &store, NOW).await.unwrap();
        let views = other.rotate(now, UnixTime(NOW)).await.unwrap();
        assert_eq!(views[1].published_until, Some(UnixTime(until)));
    }
}

#[tokio::test]
async fn after_a_change_of_algorithm_a_new_key_signs_and_the_old_one_stays_published() {
    let store = memory().await;
    let old = open_at(&config(Vec::new()), &store, NOW).await.unwrap();
    let token = sign(&old);
    let changed = Config {
        algorithm: Algorithm::EdDSA,
        ..config(Vec::new())
    };
    let keys = open_at(&changed, &store, NOW + 5).await.unwrap();
    assert_eq!(
        Jws::parse(&sign(&keys)).unwrap().algorithm(),
        Algorithm::EdDSA
    );
    assert!(verifies(&token, &published(&keys)));
    assert_eq!(keys.algorithms(), [Algorithm::EdDSA, Algorithm::ES256]);
    assert_eq!(states(&keys), [KeyState::Active, KeyState::Retired]);
    // The process that is about to be replaced goes on, and makes no new key of its own.
    reload(&old, &store, NOW + 10).await;
    assert_eq!(kid(&sign(&old)), kid(&token));
    assert!(verifies(&sign(&keys), &published(&old)));
    reload(&keys, &store, NOW + 5 + DAY).await;
    assert_eq!(keys.views()[1].retired_at, Some(UnixTime(NOW + 5 + DAY)));
}

#[tokio::test]
async fn a_configured_key_signs_always_and_is_not_rotated() {
    let store = memory().await;
    let own = SigningKey::generate(Algorithm::ES256).unwrap();
    let config = Config {
        private_key: Some(own.to_pem()),
        ..config(Vec::new())
    };
    let keys = open_at(&config, &store, NOW).await.unwrap();
    reload(&keys, &store, NOW + 3650 * DAY).await;
    assert_eq!(kid(&sign(&keys)), own.kid());
    for how in [
        RotateNow::default(),
        RotateNow {
            now: true,
            withdraw: false,
        },
    ] {
        let refused = keys.rotate(how, UnixTime(NOW)).await.unwrap_err();
        assert!(matches!(refused, RotateError::OwnKey), "{refused}");
    }
    assert_eq!(store.signing_keys().await.unwrap().keys.len(), 0);
    let view = &keys.views()[0];
    assert_eq!(
        (view.kid.as_str(), view.state, view.created_at),
        (own.kid(), KeyState::Active, None)
    );
}

#[tokio::test]
async fn a_stored_key_can_be_withdrawn_while_a_configured_key_signs_and_whatever_it_is() {
    let store = memory().await;
    let before = open_at(&config(Vec::new()), &store, NOW).await.unwrap();
    let stolen = sign(&before);
    let own = SigningKey::generate(Algorithm::ES256).unwrap();
    let config = Config {
        private_key: Some(own.to_pem()),
        ..config(Vec::new())
    };
    let keys = open_at(&config, &store, NOW).await.unwrap();
    assert!(
        verifies(&stolen, &published(&keys)),
        "it is published for its tokens"
    );
    // One that cannot be read does not prevent it.
    let mut broken = store.signing_keys().await.unwrap();
    broken.keys[0].private_key = "aes256gcm:AAAA".into();
    let put = broken.keys.clone();
    store
        .change_signing_keys(
            broken.revision,
            &KeyChange {
                put,
                delete: Vec::new(),
            },
        )
        .await
        .unwrap();
    let views = keys
        .rotate(
            RotateNow {
                now: true,
                withdraw: true,
            },
            UnixTime(NOW + 1),
        )
        .await
        .unwrap();
    assert_eq!(
        views
            .iter()
            .map(|view| view.kid.as_str())
            .collect::<Vec<_>>(),
        [own.kid()]
    );
    assert!(!verifies(&stolen, &published(&keys)) && verifies(&sign(&keys), &published(&keys)));
    assert_eq!(store.signing_keys().await.unwrap().keys.len(), 0);
}

#[tokio::test]
async fn a_key_in_plain_text_beside_encrypted_ones_is_not_taken() {
    let store = memory().await;
    let sealed = Config {
        encryption_key: Some(encryption(1)),
        ..config(Vec::new())
    };
    let keys = open_at(&sealed, &store, NOW).await.unwrap();
    let good = sign(&keys);
    // An attacker who can write the store, without the encryption key.
    let planted = SigningKey::generate(Algorithm::ES256).unwrap();
    let stored = store.signing_keys().await.unwrap();
    let record = crate::store::KeyRecord {
        kid: planted.kid().to_owned(),
        signs_from: UnixTime(NOW + 1),
        ..stored.keys[0].record.clone()
    };
    let put = vec![crate::store::StoredKey {
        record,
        private_key: planted.to_pem(),
    }];
    assert!(
        store
            .change_signing_keys(
                stored.revision,
                &KeyChange {
                    put,
                    delete: Vec::new()
                }
            )
            .await
            .unwrap()
    );
    reload(&keys, &store, NOW + 2).await;
    let again = open_at(&sealed, &store, NOW + 2).await.unwrap();
    for keys in [&keys, &again] {
        assert_eq!(kid(&sign(keys)), kid(&good));
        assert!(!keys.public().contains(planted.kid()));
    }
    again
        .rotate(
            RotateNow {
                now: true,
                withdraw: true,
            },
            UnixTime(NOW + 3),
        )
        .await
        .unwrap();
    let left = store.signing_keys().await.unwrap().keys;
    assert!(
        left.len() == 1
            && left[0]
                .private_key
                .expose_secret()
                .starts_with("aes256gcm:")
    );
}

#[tokio::test]
async fn with_an_encryption_key_nothing_lies_in_plain_text_and_without_it_nothing_opens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m2m.db");
    let with = |key: Option<EncryptionKey>| Config {
        encryption_key: key,
        ..config(Vec::new())
    };
    let store = file(&path).await;
    let plain = open_at(&with(None), &store, NOW).await.unwrap();
    plain
        .rotate(
            RotateNow {
                now: true,
                withdraw: false,
            },
            UnixTime(NOW),
        )
        .await
        .unwrap();
    let pems: Vec<String> = store
        .signing_keys()
        .await
        .unwrap()
        .keys
        .iter()
        .map(body)
        .collect();
    assert!(pems.iter().all(|pem| found(directory.path(), pem)));

    let sealed = open_at(&with(Some(encryption(1))), &store, NOW)
        .await
        .unwrap();
    assert_eq!(sealed.public(), plain.public());
    assert!(pems.iter().all(|pem| !found(directory.path(), pem)));
    sealed
        .rotate(RotateNow::default(), UnixTime(NOW))
        .await
        .unwrap();
    let stored = store.signing_keys().await.unwrap().keys;
    assert_eq!(stored.len(), 3);
    assert!(
        stored
            .iter()
            .all(|key| key.private_key.expose_secret().starts_with("aes256gcm:"))
    );
    // A process that has no encryption key yet does not stumble over it: it keeps what it has.
    reload(&plain, &store, NOW + 5).await;
    assert_eq!(plain.views().len(), 2);
    sign(&plain);

    let error = open_at(&with(None), &store, NOW).await.err().unwrap();
    assert!(matches!(error, OpenError::Encrypted(_)), "{error}");
    let error = open_at(&with(Some(encryption(2))), &store, NOW)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, OpenError::OtherEncryptionKey(_)), "{error}");
    let shown = format!("{error} {error:?}");
    assert!(
        stored
            .iter()
            .all(|key| !shown.contains(key.private_key.expose_secret())),
        "{shown}"
    );
    drop(store);

    let store = file(&path).await;
    let keys = open_at(&with(Some(encryption(1))), &store, NOW)
        .await
        .unwrap();
    assert_eq!(keys.views(), sealed.views());
    assert!(verifies(&sign(&keys), &published(&sealed)));
    assert!(pems.iter().all(|pem| !found(directory.path(), pem)));
}

/// A line from the middle of a key's PEM.
fn body(key: &crate::store::StoredKey) -> String {
    key.private_key
        .expose_secret()
        .lines()
        .nth(1)
        .unwrap()
        .to_owned()
}

fn found(directory: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(directory).unwrap();
    let all: Vec<u8> = files
        .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect();
    all.windows(text.len())
        .any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn while_the_store_is_away_the_keys_stay_and_rotation_waits() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m2m.db");
    let store = file(&path).await;
    let keys = open_at(&config(Vec::new()), &store, NOW).await.unwrap();
    let revision = store.revisions().await.unwrap().keys;
    // No table, no answer.
    let raw = sqlx::SqlitePool::connect(&format!("sqlite:{}", path.display()))
        .await
        .unwrap();
    sqlx::raw_sql("ALTER TABLE signing_keys RENAME TO elsewhere")
        .execute(&raw)
        .await
        .unwrap();
    let due = UnixTime(NOW + 30 * DAY);
    assert!(keys.reload(revision, due, due).await.is_err());
    assert!(matches!(
        keys.rotate(RotateNow::default(), due).await,
        Err(RotateError::Store(_))
    ));
    assert_eq!(states(&keys), [KeyState::Active]);
    sign(&keys);
    sqlx::raw_sql("ALTER TABLE elsewhere RENAME TO signing_keys")
        .execute(&raw)
        .await
        .unwrap();
    reload(&keys, &store, NOW + 30 * DAY).await;
    assert_eq!(states(&keys), [KeyState::Active, KeyState::Next]);
}

#[tokio::test]
async fn the_key_set_has_what_verifiers_choose_by_and_nothing_private() {
    let store = memory().await;
    let keys = open_at(&config(Vec::new()), &store, NOW).await.unwrap();
    keys.rotate(RotateNow::default(), UnixTime(NOW))
        .await
        .unwrap();
    let jwks: Value = serde_json::from_str(&keys.public()).unwrap();
    let jwks = jwks["keys"].as_array().unwrap();
    assert_eq!(jwks.len(), 2);
    assert_eq!(jwks[0]["kid"], kid(&sign(&keys)));
    for jwk in jwks {
        let mut members: Vec<_> = jwk
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        members.sort_unstable();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
        assert_eq!((&jwk["alg"], &jwk["use"]), (&json!("ES256"), &json!("sig")));
    }
}
