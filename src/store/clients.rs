//! Clients and their secrets, as they are stored.

use async_trait::async_trait;
use serde_json::Value;

use super::StoreError;
use super::tokens::ClientNotBefore;
use crate::domain::clock::UnixTime;
use crate::domain::secret::SecretString;

/// Keeps the clients that the management API makes.
///
/// Every change of a client raises [`Revisions::clients`](super::Revisions::clients) in the same
/// transaction.
#[async_trait]
pub trait ClientStore {
    /// Every client with its secrets, by id.
    async fn clients(&self) -> Result<Vec<StoredClient>, StoreError>;

    /// One client with its secrets.
    async fn client(&self, client_id: &str) -> Result<Option<StoredClient>, StoreError>;

    /// Keeps a new client with its secrets. `false`: the id is taken, and nothing was written.
    async fn insert_client(&self, client: &StoredClient) -> Result<bool, StoreError>;

    /// Replaces a client's document if it still has the version `client.version`, and raises the
    /// version. Its secrets stay or are all deleted. With `end`, everything the client was issued
    /// so far ends in the same transaction. `false`: the client was deleted or changed meanwhile,
    /// and nothing was written.
    async fn update_client(
        &self,
        client: &StoredClient,
        secrets: SecretsOf,
        end: Option<&ClientNotBefore>,
    ) -> Result<bool, StoreError>;

    /// Deletes a client with its secrets and ends everything it was issued, if it still has this
    /// version. `false`: the client was deleted or changed meanwhile, and nothing was written.
    async fn delete_client(&self, version: i64, end: &ClientNotBefore) -> Result<bool, StoreError>;

    /// Keeps a further secret of a client, if it still has the version and the secrets of `client`.
    /// With `others_end_at`, the others expire then at the latest. `false`: the client was deleted
    /// or changed meanwhile, and nothing was written.
    async fn insert_secret(
        &self,
        client: &StoredClient,
        secret: &StoredSecret,
        others_end_at: Option<UnixTime>,
    ) -> Result<bool, StoreError>;

    /// Deletes a secret; with `unless_last_at`, not the last one that is valid at that time.
    async fn delete_secret(
        &self,
        client_id: &str,
        secret_id: &str,
        unless_last_at: Option<UnixTime>,
    ) -> Result<DeletedSecret, StoreError>;

    /// Stores when secrets were last used: pairs of secret id and time. This is no change of the
    /// client.
    async fn touch_secrets(&self, used: &[(String, UnixTime)]) -> Result<(), StoreError>;
}

/// Whether a change of a client deletes its secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretsOf {
    /// They stay.
    Kept,
    /// They are deleted.
    Deleted,
}

/// The result of deleting a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletedSecret {
    /// It is deleted.
    Done,
    /// This client has no such secret.
    Unknown,
    /// It is the last valid one, and stays.
    Last,
}

/// A client as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredClient {
    /// The client id.
    pub client_id: String,
    /// Its metadata: a JSON object that only the issuer interprets.
    pub document: Value,
    /// One higher with each change of the document; 1 at first.
    pub version: i64,
    /// When it was made.
    pub created_at: UnixTime,
    /// When it was last changed.
    pub updated_at: UnixTime,
    /// Its secrets, the oldest first.
    pub secrets: Vec<StoredSecret>,
}

/// A client's secret as it is stored: never the secret itself.
#[derive(Clone, Debug)]
pub struct StoredSecret {
    /// Its id, unique among all secrets.
    pub secret_id: String,
    /// The hash of the secret, with the name of the algorithm.
    pub hash: SecretString,
    /// The last four characters of a generated secret, so that people can distinguish secrets.
    /// Absent for a supplied one: they would help to guess it.
    pub last_four: Option<String>,
    /// When it was made.
    pub created_at: UnixTime,
    /// From this time on it is refused.
    pub expires_at: Option<UnixTime>,
    /// When it was last used, up to a minute late.
    pub last_used_at: Option<UnixTime>,
}

impl PartialEq for StoredSecret {
    /// Compares everything except the hash, whose comparison must take constant time.
    fn eq(&self, other: &Self) -> bool {
        let shown = |it: &Self| {
            let times = (it.created_at, it.expires_at, it.last_used_at);
            (it.secret_id.clone(), it.last_four.clone(), times)
        };
        shown(self) == shown(other)
    }
}
