//! Clients: created, listed, shown, changed and deleted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{CHANGED, ClientAdmin, ManagementError, NO_CLIENT, TRIES, secrets};
use crate::domain::clock::UnixTime;
use crate::domain::secret::SecretString;
use crate::issuer::Client;
use crate::issuer::client_end::longest_lifetime;
use crate::issuer::registration::{
    ClientMetadata, FieldProblem, ServerSet, read_new, read_patched,
};
use crate::store::{SecretsOf, StoreError, StoredClient};

/// A client, without its secrets.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientRecord {
    /// Its id.
    pub client_id: String,
    /// Its metadata.
    pub metadata: ClientMetadata,
    /// Where it is registered.
    pub source: Source,
}

/// Where a client is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the configuration file.
    Configuration,
    /// In the store.
    Store {
        /// When it was made.
        created_at: UnixTime,
        /// When it was last changed.
        updated_at: UnixTime,
        /// One higher with each change; 1 at first.
        version: i64,
    },
}

/// A new client.
#[derive(Debug)]
pub struct CreatedClient {
    /// The client.
    pub client: ClientRecord,
    /// Its secret, this once; none when it has keys instead.
    pub secret: Option<SecretString>,
}

/// Some of the clients.
#[derive(Debug)]
pub struct ClientPage {
    /// By id.
    pub clients: Vec<ClientRecord>,
    /// The last one's id, when there are more.
    pub next: Option<String>,
}

impl ClientAdmin {
    /// Registers a client: RFC 7591 §2's members and a few of ours.
    ///
    /// # Errors
    /// When a member is wrong, the id is taken, or the store fails.
    pub async fn create(
        &self,
        body: &Map<String, Value>,
    ) -> Result<CreatedClient, ManagementError> {
        let now = self.clock.now();
        let new = read_new(body, now).map_err(ManagementError::Invalid)?;
        self.check_claims(&new.metadata)?;
        let client_id = new
            .client_id
            .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let taken = ManagementError::Conflict("there is a client of this id already");
        if self.clients.configured(&client_id).is_some() {
            return Err(taken);
        }
        let (secret, stored) = if new.metadata.has_no_secret() {
            (None, None)
        } else {
            let (secret, stored) = secrets::make(new.client_secret, &[], now, None).await?;
            (Some(secret), Some(stored))
        };
        let client = StoredClient {
            client_id,
            document: new.metadata.to_document()?,
            version: 1,
            created_at: now,
            updated_at: now,
            secrets: stored.into_iter().collect(),
        };
        if !self.store.insert_client(&client).await? {
            return Err(taken);
        }
        // The client is stored, and only this caller has its secret: after a failure the next
        // reload reads it.
        let _ = self.take_over().await;
        self.clients.opened(&client.client_id).await;
        let client = record(&client).ok_or(ManagementError::Unavailable)?;
        Ok(CreatedClient { client, secret })
    }

    /// A further claim must not make a client look like an owner, and a device needs a claim.
    fn check_claims(&self, metadata: &ClientMetadata) -> Result<(), ManagementError> {
        let own = metadata
            .claims
            .keys()
            .filter(|name| self.policy.is_own_claim(name));
        let mut problems: Vec<_> = own
            .map(|name| {
                FieldProblem::new(
                    format!("claims.{name}"),
                    "the issuer sets this claim itself",
                )
            })
            .collect();
        if metadata.allow_device_id && self.policy.device_id_claim.is_empty() {
            let problem = "the issuer has no `deviceIDClaim`, which names the parameter";
            problems.push(FieldProblem::new("allow_device_id", problem));
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ManagementError::Invalid(problems))
        }
    }

    /// The clients of configuration and store after the id `after`, by id.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn page(
        &self,
        after: Option<&str>,
        limit: u32,
    ) -> Result<ClientPage, ManagementError> {
        let stored = self.store.clients().await?;
        let stored = stored.iter().filter_map(record);
        // Clients of the configuration come last, because they hide those of the store.
        let configured = self.clients.all_configured();
        let all = stored.chain(configured.values().map(|client| configured_record(client)));
        let all: BTreeMap<String, ClientRecord> = all
            .map(|client| (client.client_id.clone(), client))
            .collect();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let rest = all
            .into_values()
            .filter(|client| after.is_none_or(|after| client.client_id.as_str() > after));
        let mut clients: Vec<_> = rest.take(limit.saturating_add(1)).collect();
        let more = clients.len() > limit;
        clients.truncate(limit);
        let next = clients
            .last()
            .filter(|_| more)
            .map(|last| last.client_id.clone());
        Ok(ClientPage { clients, next })
    }

    /// One client.
    ///
    /// # Errors
    /// When there is none of this id, or the store does not answer.
    pub async fn get(&self, client_id: &str) -> Result<ClientRecord, ManagementError> {
        if let Some(client) = self.clients.configured(client_id) {
            return Ok(configured_record(&client));
        }
        readable(&self.store.client(client_id).await?.ok_or(NO_CLIENT)?)
    }

    /// Changes a client by a merge patch (RFC 7396). Disabling it ends its tokens before this
    /// returns.
    ///
    /// # Errors
    /// When a member is wrong, the client does not exist or is one of the configuration, other
    /// requests keep changing it, or the store fails.
    pub async fn update(
        &self,
        client_id: &str,
        patch: &Map<String, Value>,
    ) -> Result<UpdatedClient, ManagementError> {
        for _ in 0..TRIES {
            let stored = self.stored_client(client_id).await?;
            let old = readable(&stored)?;
            let set = ServerSet {
                created_at: stored.created_at,
                updated_at: stored.updated_at,
                version: stored.version,
            };
            let new = read_patched(client_id, &old.metadata, &set, patch, self.clock.now())
                .map_err(ManagementError::Invalid)?;
            self.check_claims(&new)?;
            // Its secrets must stay invalid, even when the keys are removed later.
            let secrets = if new.has_no_secret() {
                SecretsOf::Deleted
            } else {
                SecretsOf::Kept
            };
            if new == old.metadata && (secrets == SecretsOf::Kept || stored.secrets.is_empty()) {
                // Another request may have just made the change: the answer promises that it is
                // effective.
                self.take_over().await?;
                return Ok(UpdatedClient {
                    client: old,
                    changed: Vec::new(),
                });
            }
            let members = changed_members(&old.metadata, &new)?;
            // Also when an expired client is prolonged: its old tokens must not become valid again.
            let has_expired =
                |it: &ClientMetadata| it.expiry.is_some_and(|end| end <= self.clock.now());
            let ends = (new.disabled && !old.metadata.disabled)
                || has_expired(&new) != has_expired(&old.metadata);
            // Before the time is taken: a later token request is refused.
            let closed = ends.then(|| self.clients.close(client_id));
            let now = self.clock.now();
            let end = ends.then(|| {
                self.ends
                    .end_of(client_id, longest_lifetime(Some(&stored)), now)
            });
            let changed = StoredClient {
                document: new.to_document()?,
                updated_at: now,
                ..stored
            };
            if self
                .store
                .update_client(&changed, secrets, end.as_ref())
                .await?
            {
                self.take_over().await?;
                drop(closed);
                self.clients.opened(client_id).await;
                if let Some(end) = &end {
                    self.let_pass(end).await;
                }
                let client = readable(&StoredClient {
                    version: changed.version + 1,
                    ..changed
                })?;
                return Ok(UpdatedClient {
                    client,
                    changed: members,
                });
            }
        }
        Err(CHANGED)
    }

    /// Deletes a client, whose tokens end before this returns.
    ///
    /// # Errors
    /// When it does not exist or is one of the configuration, or the store fails.
    pub async fn delete(&self, client_id: &str) -> Result<(), ManagementError> {
        for _ in 0..TRIES {
            let stored = match self.stored_client(client_id).await {
                Err(gone @ ManagementError::NotFound(_)) => {
                    // Another request may have just deleted it: the answer promises that its tokens
                    // have ended.
                    self.take_over().await?;
                    return Err(gone);
                }
                stored => stored?,
            };
            let closed = self.clients.close(client_id);
            let end =
                self.ends
                    .end_of(client_id, longest_lifetime(Some(&stored)), self.clock.now());
            if self.store.delete_client(stored.version, &end).await? {
                self.take_over().await?;
                // From now on the id is free: tokens of a new client of this id carry the mark of
                // the end.
                drop(closed);
                self.let_pass(&end).await;
                return Ok(());
            }
        }
        Err(CHANGED)
    }
}

/// A client after a change.
#[derive(Clone, Debug)]
pub struct UpdatedClient {
    /// The client as it is now.
    pub client: ClientRecord,
    /// The names of the changed members.
    pub changed: Vec<String>,
}

fn changed_members(old: &ClientMetadata, new: &ClientMetadata) -> Result<Vec<String>, StoreError> {
    let (old, new) = (old.to_document()?, new.to_document()?);
    let names = |document: &Value| -> BTreeSet<String> {
        document
            .as_object()
            .into_iter()
            .flat_map(Map::keys)
            .cloned()
            .collect()
    };
    let all = names(&old).union(&names(&new)).cloned().collect::<Vec<_>>();
    Ok(all
        .into_iter()
        .filter(|name| old.get(name) != new.get(name))
        .collect())
}

fn record(stored: &StoredClient) -> Option<ClientRecord> {
    Some(ClientRecord {
        client_id: stored.client_id.clone(),
        metadata: ClientMetadata::stored(&stored.document)?,
        source: Source::Store {
            created_at: stored.created_at,
            updated_at: stored.updated_at,
            version: stored.version,
        },
    })
}

fn readable(stored: &StoredClient) -> Result<ClientRecord, ManagementError> {
    let unreadable =
        "what is stored of this client was written by another version; it can only be deleted";
    record(stored).ok_or(ManagementError::Conflict(unreadable))
}

fn configured_record(client: &Client) -> ClientRecord {
    ClientRecord {
        client_id: client.id.clone(),
        metadata: ClientMetadata::configured(client),
        source: Source::Configuration,
    }
}
