//! The registered clients.

use std::collections::HashMap;

use super::{ClientConfig, OpenError};
use crate::domain::secret::{ExposeSecret, SecretString};

/// The clients of the configuration, by id.
pub(super) struct Clients {
    by_id: HashMap<String, ClientConfig>,
    /// What the secret of an unknown client is compared with, so that it costs what a known one costs.
    dummy_secret: SecretString,
}

impl Clients {
    pub(super) fn new(clients: Vec<ClientConfig>) -> Result<Self, OpenError> {
        let mut by_id = HashMap::with_capacity(clients.len());
        for client in clients {
            if client.secret.expose_secret().is_empty() {
                return Err(OpenError::EmptySecret(client.id));
            }
            if let Some(first) = by_id.insert(client.id.clone(), client) {
                return Err(OpenError::DuplicateClient(first.id));
            }
        }
        let dummy_secret = SecretString::from(uuid::Uuid::new_v4().to_string());
        Ok(Self { by_id, dummy_secret })
    }

    pub(super) fn get(&self, client_id: &str) -> Option<&ClientConfig> {
        self.by_id.get(client_id)
    }

    pub(super) fn dummy_secret(&self) -> &SecretString {
        &self.dummy_secret
    }
}
