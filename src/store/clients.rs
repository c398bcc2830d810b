//! Clients and their secrets, as they are stored.

use async_trait::async_trait;
use serde_json::Value;

use super::StoreError;
use super::tokens::ClientNotBefore;
use crate::domain::clock::UnixTime;
use crate::domain::secret::SecretString;

/// Keeps the clients that the management API makes.
///
/// What changes a client raises [`Revisions::clients`](super::Revisions::clients) in the same
/// transaction.
#[async_trait]
pub trait ClientStore {
    /// Every client with its secrets, by id.
    async fn clients(&self) -> Result<Vec<StoredClient>, StoreError>;

    /// One client with its secrets.
    async fn client(&self, client_id: &str) -> Result<Option<StoredClient>, StoreError>;

    /// Keeps a new client with its secrets. `false`: there is one of this id already, and nothing
    /// was changed.
    async fn insert_client(&self, client: &StoredClient) -> Result<bool, StoreError>;

    /// Replaces a client's document, if it still has the version `client.version`, which is then
    /// one higher. Its secrets stay, or are all deleted, whichever they are then. With `end`,
    /// everything the client was issued so far is ended in the same transaction. `false`: it is
    /// gone or was changed meanwhile, and nothing was changed.
    async fn update_client(
        &self,
        client: &StoredClient,
        secrets: SecretsOf,
        end: Option<&ClientNotBefore>,
    ) -> Result<bool, StoreError>;

    /// Deletes a client with its secrets and ends everything it was issued, if it still has this
    /// version. `false`: it is gone or was changed meanwhile, and nothing was changed.
    async fn delete_client(&self, version: i64, end: &ClientNotBefore) -> Result<bool, StoreError>;

    /// Keeps a further secret of a client, if it still has the version and the secrets of `client`.
    /// With `others_end_at`, those expire then at the latest. `false`: it is gone, or was changed
    /// meanwhile, and nothing was changed.
    async fn insert_secret(
        &self,
        client: &StoredClient,
        secret: &StoredSecret,
        others_end_at: Option<UnixTime>,
    ) -> Result<bool, StoreError>;

    /// Deletes a secret; with `unless_last_at`, not the last one that lives at that time.
    async fn delete_secret(
        &self,
        client_id: &str,
        secret_id: &str,
        unless_last_at: Option<UnixTime>,
    ) -> Result<DeletedSecret, StoreError>;

    /// Notes when secrets were last used: pairs of secret id and time. Not a change of a client.
    async fn touch_secrets(&self, used: &[(String, UnixTime)]) -> Result<(), StoreError>;
}

/// What becomes of a client's secrets when it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretsOf {
    /// They stay.
    Kept,
    /// They are deleted.
    Deleted,
}

/// What became of a secret that was to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletedSecret {
    /// It is deleted.
    Done,
    /// This client has no such secret.
    Unknown,
    /// It is the last one that lives, and stays.
    Last,
}

/// A client as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredClient {
    /// The client id.
    pub client_id: String,
    /// What is registered of it: a JSON object whose members are the issuer's business.
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
    /// What the secret is compared with, in a form that names its own kind.
    pub hash: SecretString,
    /// The last four characters of a generated secret, by which people tell secrets apart. None of
    /// a supplied one: they would help to guess it.
    pub last_four: Option<String>,
    /// When it was made.
    pub created_at: UnixTime,
    /// From this time on it is refused.
    pub expires_at: Option<UnixTime>,
    /// When it was last used, up to a minute late.
    pub last_used_at: Option<UnixTime>,
}

impl PartialEq for StoredSecret {
    /// By everything but the hash, which is not to be compared like this.
    fn eq(&self, other: &Self) -> bool {
        let shown = |it: &Self| {
            let times = (it.created_at, it.expires_at, it.last_used_at);
            (it.secret_id.clone(), it.last_four.clone(), times)
        };
        shown(self) == shown(other)
    }
}
