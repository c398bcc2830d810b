//! `client_secret_basic` and `client_secret_post` (RFC 6749 §2.3.1).
//!
//! Cheap comparisons come first. What they do not find may be a supplied secret, and then a memory-hard hash is needed: one
//! for each reading of the credentials, if any client of the store has such a secret at all, and whether or not this one
//! has. Unknown client and wrong secret do the same operations in the same order.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::failures::{Attempt, Failures, attempt, network};
use super::proven::{Presented, Proven};
use super::slow_hash::{AddressShare, SlowHashes};
use super::used_secrets::UsedSecrets;
use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256;
use crate::domain::oauth::ClientAuthMethod;
use crate::domain::secret::ExposeSecret;
use crate::issuer::TokenError;
use crate::issuer::client::{Authentication, Client, ExpectedSecret, Secret};
use crate::issuer::client_secret::{self, Digest, Salt};
use crate::issuer::clients::Clients;
use crate::issuer::token_request::{Candidate, SecretCredentials};
use crate::store::{Store, StoreError};

/// A configured secret of so many bytes was not thought of by somebody.
const LONG: usize = 32;

/// Checks secrets.
pub(super) struct Secrets {
    slow: SlowHashes,
    proven: Proven,
    failures: Failures,
    used: UsedSecrets,
    /// What stands for the secret and the salt of whoever has none.
    dummy: (Digest, Salt),
    #[cfg(test)]
    pub(super) done: std::sync::Mutex<Vec<Operation>>,
}

/// What checking a secret takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    LookUp,
    Compare,
    Recall,
    CheckDelay,
    Argon2,
    NoteFailure,
}

/// One reading of the credentials, after what is cheap.
struct Reading<'c> {
    candidate: &'c Candidate,
    client: Option<Arc<Client>>,
    presented: Presented,
    /// The secret that it is, by its place.
    matched: Option<usize>,
    /// Whether it was that secret before.
    is_proven: bool,
}

impl Reading<'_> {
    /// Whether it is right by more than luck: nobody guesses so many random bits, however often he tries.
    fn is_no_guess(&self) -> bool {
        let secret = self.client.as_ref().zip(self.matched).and_then(|(it, place)| it.secrets.get(place));
        match secret.map(|secret| &secret.expected) {
            Some(ExpectedSecret::Sha256(_)) => true,
            Some(ExpectedSecret::Plain(text)) => text.expose_secret().len() >= LONG,
            Some(ExpectedSecret::Argon2(..)) | None => false,
        }
    }
}

impl Secrets {
    pub(super) fn new() -> Self {
        let mut digest = Digest::default();
        client_secret::fill(&mut digest);
        Self {
            slow: SlowHashes::new(),
            proven: Proven::new(),
            failures: Failures::new(),
            used: UsedSecrets::default(),
            dummy: (digest, client_secret::random_salt()),
            #[cfg(test)]
            done: std::sync::Mutex::default(),
        }
    }

    pub(super) async fn write_used(&self, store: &dyn Store, now: UnixTime) -> Result<(), StoreError> {
        self.used.write(store, now).await
    }

    pub(super) async fn write_all_used(&self, store: &dyn Store, now: UnixTime) -> Result<(), StoreError> {
        self.used.write_all(store, now).await
    }

    /// The client whose secret this is.
    pub(super) async fn authenticate(
        &self,
        clients: &Clients,
        credentials: &SecretCredentials,
        from: Option<IpAddr>,
        now: UnixTime,
    ) -> Result<Arc<Client>, TokenError> {
        let basic = credentials.method() == ClientAuthMethod::ClientSecretBasic;
        // Only an id: nobody is guessing.
        if !credentials.candidates().any(Candidate::has_secret) {
            return Err(TokenError::InvalidClient { basic });
        }
        let mut readings: Vec<_> = credentials.candidates().map(|it| self.read(clients, it, now)).collect();
        let proven = readings.iter().position(|reading| reading.is_proven);
        if let Some(proven) = proven {
            return self.accept(readings.swap_remove(proven), now).ok_or(TokenError::InvalidClient { basic });
        }
        let attempt = attempt(credentials.client_id(), from);
        self.note(Operation::CheckDelay);
        let delayed = self.failures.check(&attempt, now);
        let mut right = readings.iter().position(|reading| reading.matched.is_some());
        if !right.is_some_and(|place| readings[place].is_no_guess()) {
            delayed?;
        }
        if right.is_none() && clients.have_supplied_secrets() {
            for (place, reading) in readings.iter_mut().enumerate() {
                self.hash(reading, &attempt, from, now).await?;
                right = right.or(reading.matched.map(|_| place));
            }
        }
        let accepted = right.and_then(|place| self.accept(readings.swap_remove(place), now));
        match accepted {
            Some(client) => {
                self.failures.forget(&attempt);
                Ok(client)
            }
            None => {
                self.note(Operation::NoteFailure);
                self.failures.note(&attempt, now);
                Err(TokenError::InvalidClient { basic })
            }
        }
    }

    /// As after a restart.
    #[cfg(test)]
    pub(super) fn forget_proven(&self) {
        self.proven.forget();
    }

    /// Everything about a reading that is cheap.
    fn read<'c>(&self, clients: &Clients, candidate: &'c Candidate, now: UnixTime) -> Reading<'c> {
        self.note(Operation::LookUp);
        let client = clients.get(&candidate.client_id);
        self.note(Operation::Compare);
        let digest = sha256(candidate.secret.expose_secret().as_bytes());
        let mut matched = None;
        for (place, secret) in live_secrets(client.as_deref(), now) {
            let is_slow = matches!(secret.expected, ExpectedSecret::Argon2(..));
            let is_equal = verify_slices_are_equal(&identity(secret), &digest).is_ok();
            if is_equal && !is_slow && candidate.has_secret() {
                matched = Some(place);
            }
        }
        if live_secrets(client.as_deref(), now).next().is_none() {
            let _ = verify_slices_are_equal(&self.dummy.0, &digest);
        }
        self.note(Operation::Recall);
        let presented = self.proven.presented(&candidate.client_id, &candidate.secret);
        let known = self.proven.get(&presented);
        let place_of = |known| {
            let mut live = live_secrets(client.as_deref(), now);
            live.find(|(_, secret)| identity(secret) == known).map(|(place, _)| place)
        };
        let known = known.and_then(place_of);
        Reading { candidate, presented, matched: matched.or(known), is_proven: known.is_some(), client }
    }

    /// Compares with the supplied secrets, which all have one salt.
    async fn hash(
        &self,
        reading: &mut Reading<'_>,
        attempt: &Attempt,
        from: Option<IpAddr>,
        now: UnixTime,
    ) -> Result<(), TokenError> {
        self.note(Operation::Argon2);
        let supplied = |(place, secret): (usize, &Secret)| match secret.expected {
            ExpectedSecret::Argon2(salt, digest) => Some((place, salt, digest)),
            _ => None,
        };
        let supplied: Vec<_> = live_secrets(reading.client.as_deref(), now).filter_map(supplied).collect();
        let salt = supplied.last().map_or(self.dummy.1, |(_, salt, _)| *salt);
        let Candidate { client_id, secret } = reading.candidate;
        let share =
            if self.failures.guesses(attempt, now) { AddressShare::Small } else { AddressShare::Half };
        let address = (network(from), share);
        let digest = self.slow.digest((reading.presented, salt), secret, client_id, address).await;
        // Cheap comparisons have been made, so that this too says whether a guess was right.
        let digest = digest.map_err(|_| {
            self.failures.note_unjudged(attempt, now);
            TokenError::Busy
        })?;
        let _ = verify_slices_are_equal(&self.dummy.0, &digest);
        for (place, of_salt, expected) in &supplied {
            let is_equal = verify_slices_are_equal(expected, &digest).is_ok();
            if is_equal && *of_salt == salt && reading.candidate.has_secret() {
                reading.matched = Some(*place);
            }
        }
        Ok(())
    }

    fn accept(&self, reading: Reading<'_>, now: UnixTime) -> Option<Arc<Client>> {
        let client = reading.client?;
        let secret = client.secrets.get(reading.matched?)?;
        if !reading.is_proven {
            self.proven.remember(reading.presented, identity(secret));
        }
        if let Some(id) = &secret.id {
            self.used.note(id, now);
        }
        Some(client)
    }

    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests keep what is done"))]
    fn note(&self, _operation: Operation) {
        #[cfg(test)]
        self.done.lock().expect("a test").push(_operation);
    }
}

/// The secrets by which a client may be let in now, with their places; none of a client that is unknown, disabled,
/// expired or has to show an assertion.
fn live_secrets(client: Option<&Client>, now: UnixTime) -> impl Iterator<Item = (usize, &Secret)> {
    let usable =
        |client: &&Client| client.is_usable(now) && matches!(client.authentication, Authentication::Secret);
    let secrets = client.filter(usable).into_iter().flat_map(|client| client.secrets.iter().enumerate());
    secrets.filter(move |(_, secret)| secret.is_live(now))
}

/// What tells a secret from every other one.
fn identity(secret: &Secret) -> Digest {
    match &secret.expected {
        ExpectedSecret::Plain(text) => sha256(text.expose_secret().as_bytes()),
        ExpectedSecret::Sha256(digest) | ExpectedSecret::Argon2(_, digest) => *digest,
    }
}
