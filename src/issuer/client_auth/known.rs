//! The clients that a connection may act for.

use std::net::IpAddr;
use std::sync::Arc;

use crate::domain::clock::UnixTime;
use crate::issuer::Client;
use crate::issuer::clients::Clients;

/// The registered clients without those whose networks do not have the caller's address. To such a
/// caller, they do not exist: neither an answer nor its time shows whether a secret was right.
#[derive(Clone, Copy)]
pub(super) struct KnownClients<'a> {
    pub(super) all: &'a Clients,
    pub(super) address: Option<IpAddr>,
}

impl KnownClients<'_> {
    pub(super) fn get(&self, client_id: &str) -> Option<Arc<Client>> {
        let client = self.all.get(client_id)?;
        client.may_come_from(self.address).then_some(client)
    }

    /// Those that may be used at a time, and that fit.
    pub(super) fn usable(&self, now: UnixTime, fits: impl Fn(&Client) -> bool) -> Vec<Arc<Client>> {
        self.all
            .usable(now, |it| it.may_come_from(self.address) && fits(it))
    }

    pub(super) fn have_supplied_secrets(&self) -> bool {
        self.all.have_supplied_secrets()
    }
}
