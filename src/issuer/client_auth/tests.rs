//! The steps of authentication, and their order.

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

mod assertions;
mod secrets;

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

    /// The steps since the last call.
    fn done(&self) -> Vec<Operation> {
        std::mem::take(&mut *self.issuer.client_auth.secrets.done.lock().unwrap())
    }

    fn forward(&self, seconds: i64) {
        self.clock.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

const REFUSED: Result<(), TokenError> = Err(TokenError::InvalidClient { basic: true });
