//! `client_secret_basic` and `client_secret_post` (RFC 6749 §2.3.1).
//!
//! A delay comes first: while it lasts, no secret that could be guessed is compared. Then follow
//! cheap comparisons. If none matches, a memory-hard hash is computed for each reading of the
//! credentials, if any client of the store has a supplied secret, whether or not this client has
//! one. An unknown client and a wrong secret cost the same operations in the same order.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::failures::{Attempt, Failures, attempt};
use super::known::KnownClients;
use super::proven::{Presented, Proven};
use super::slow_hash::SlowHashes;
use super::used_secrets::UsedSecrets;
use crate::domain::clock::UnixTime;
use crate::domain::hash::sha256;
use crate::domain::oauth::ClientAuthMethod;
use crate::domain::secret::ExposeSecret;
use crate::issuer::TokenError;
use crate::issuer::client::{Authentication, Client, ExpectedSecret, Secret};
use crate::issuer::client_secret::{self, Digest, Salt};
use crate::issuer::token::request::{Candidate, SecretCredentials};
use crate::store::{Store, StoreError};

/// Checks secrets.
pub(super) struct Secrets {
    slow: SlowHashes,
    proven: Proven,
    failures: Failures,
    used: UsedSecrets,
    /// Used in place of the secret, digest and salt of a client without secrets.
    dummy: (Secret, Digest, Salt),
    #[cfg(test)]
    pub(super) done: std::sync::Mutex<Vec<Operation>>,
}

/// A step of the check of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    LookUp,
    Compare,
    Recall,
    CheckDelay,
    Argon2,
    NoteFailure,
}

/// One reading of the credentials, after the cheap comparisons.
struct Reading<'c> {
    candidate: &'c Candidate,
    client: Option<Arc<Client>>,
    presented: Presented,
    /// The stored secret that was presented.
    matched: Option<Matched>,
    /// Whether it was right before, from the same network.
    was_right_from_here: bool,
}

/// A stored secret that was presented.
#[derive(Clone, Copy)]
struct Matched {
    /// Its index among the secrets of its client.
    place: usize,
    /// The digest of the presented text.
    digest: Digest,
}

impl Secrets {
    pub(super) fn new() -> Self {
        let mut digest = Digest::default();
        crate::domain::secret::fill(&mut digest);
        let random = Secret::configured(client_secret::generate(UnixTime(0), None).0);
        Self {
            slow: SlowHashes::new(),
            proven: Proven::new(),
            failures: Failures::new(),
            used: UsedSecrets::default(),
            dummy: (random, digest, client_secret::random_salt()),
            #[cfg(test)]
            done: std::sync::Mutex::default(),
        }
    }

    pub(super) async fn write_used(
        &self,
        store: &dyn Store,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        self.used.write(store, now).await
    }

    pub(super) async fn write_all_used(
        &self,
        store: &dyn Store,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        self.used.write_all(store, now).await
    }

    /// The client with this secret.
    pub(super) async fn authenticate(
        &self,
        clients: KnownClients<'_>,
        credentials: &SecretCredentials,
        now: UnixTime,
    ) -> Result<Arc<Client>, TokenError> {
        let basic = credentials.method() == ClientAuthMethod::ClientSecretBasic;
        // An id alone is no guess.
        if !credentials.candidates().any(Candidate::has_secret) {
            return Err(TokenError::InvalidClient { basic });
        }
        let attempt = attempt(
            credentials.candidates().map(|it| it.client_id.as_str()),
            clients.address,
        );
        self.note(Operation::CheckDelay);
        if let Err(delayed) = self.failures.check(&attempt, now) {
            return self
                .despite_delay(clients, credentials, &attempt, now)
                .ok_or(delayed);
        }
        let read = |candidate| self.read(clients, candidate, &attempt, now);
        let mut readings: Vec<_> = credentials.candidates().map(read).collect();
        let mut right = readings
            .iter()
            .position(|reading| reading.matched.is_some());
        if right.is_none() && clients.have_supplied_secrets() {
            for (place, reading) in readings.iter_mut().enumerate() {
                self.hash(reading, &attempt, now).await?;
                right = right.or(reading.matched.map(|_| place));
            }
            // Concurrent guesses must reveal no more than successive ones.
            self.failures.check(&attempt, now)?;
        }
        let was_right_from_here = right.is_some_and(|place| readings[place].was_right_from_here);
        let accepted =
            right.and_then(|place| self.accept(readings.swap_remove(place), &attempt, now));
        match accepted {
            Some(client) => {
                // A working client does not reset the failures: another caller behind its address
                // could then guess freely.
                if !was_right_from_here {
                    self.failures.reset(&attempt);
                }
                Ok(client)
            }
            None => {
                self.note(Operation::NoteFailure);
                self.failures.note(&attempt, now);
                Err(TokenError::InvalidClient { basic })
            }
        }
    }

    /// The client, if its secret cannot be guessed, or was right from this network before. The
    /// latter is checked a limited number of times, because a guesser may share the network.
    fn despite_delay(
        &self,
        clients: KnownClients<'_>,
        credentials: &SecretCredentials,
        attempt: &Attempt,
        now: UnixTime,
    ) -> Option<Arc<Client>> {
        let generated = |it: &&Candidate| client_secret::is_beyond_guessing(&it.secret);
        for candidate in credentials.candidates().filter(generated) {
            let reading = self.read(clients, candidate, attempt, now);
            if let Some(client) = self.accept(reading, attempt, now) {
                return Some(client);
            }
        }
        if !self.failures.may_recall(attempt, now) {
            return None;
        }
        let known = credentials
            .candidates()
            .map(|candidate| self.recall(clients, candidate, attempt, now));
        let client = known
            .into_iter()
            .find_map(|reading| self.accept(reading, attempt, now));
        if client.is_some() {
            self.failures.recalled(attempt);
        }
        client
    }

    #[cfg(test)]
    pub(super) fn forget_proven(&self) {
        self.proven.forget();
    }

    /// The cheap comparisons of a reading.
    fn read<'c>(
        &self,
        clients: KnownClients<'_>,
        candidate: &'c Candidate,
        attempt: &Attempt,
        now: UnixTime,
    ) -> Reading<'c> {
        let reading = self.recall(clients, candidate, attempt, now);
        self.note(Operation::Compare);
        let client = reading.client.as_deref();
        let digest = sha256(candidate.secret.expose_secret().as_bytes());
        let mut matched = None;
        for (place, secret) in live_secrets(client, now) {
            let is_slow = matches!(secret.expected, ExpectedSecret::Argon2(..));
            if is_one_of(&secret.digests(), &digest) && !is_slow && candidate.has_secret() {
                matched = Some(Matched { place, digest });
            }
        }
        if live_secrets(client, now).next().is_none() {
            let _ = is_one_of(&self.dummy.0.digests(), &digest);
        }
        let known = place_of(client, self.proven.get(&reading.presented), now);
        Reading {
            matched: matched.or(known),
            ..reading
        }
    }

    /// A reading that matches only a secret that was right from the same network before.
    fn recall<'c>(
        &self,
        clients: KnownClients<'_>,
        candidate: &'c Candidate,
        attempt: &Attempt,
        now: UnixTime,
    ) -> Reading<'c> {
        self.note(Operation::LookUp);
        let client = clients.get(&candidate.client_id);
        self.note(Operation::Recall);
        let presented = self
            .proven
            .presented(&candidate.client_id, &candidate.secret);
        let known = self.proven.get_from(&presented, attempt.network);
        let matched = place_of(client.as_deref(), known, now);
        Reading {
            candidate,
            client,
            presented,
            matched,
            was_right_from_here: matched.is_some(),
        }
    }

    /// Compares with the supplied secrets, which share one salt.
    async fn hash(
        &self,
        reading: &mut Reading<'_>,
        attempt: &Attempt,
        now: UnixTime,
    ) -> Result<(), TokenError> {
        self.note(Operation::Argon2);
        let supplied = |(place, secret): (usize, &Secret)| match secret.expected {
            ExpectedSecret::Argon2(salt, digest) => Some((place, salt, digest)),
            _ => None,
        };
        let supplied: Vec<_> = live_secrets(reading.client.as_deref(), now)
            .filter_map(supplied)
            .collect();
        let salt = supplied.last().map_or(self.dummy.2, |(_, salt, _)| *salt);
        let Candidate { client_id, secret } = reading.candidate;
        let digest = self
            .slow
            .digest(
                (reading.presented, salt),
                secret,
                client_id,
                attempt.network,
            )
            .await;
        // The cheap comparisons are done, so this answer also reveals whether a guess was right.
        let digest = digest.map_err(|_| {
            self.failures.note_unhashed(attempt, now);
            TokenError::Busy
        })?;
        let _ = verify_slices_are_equal(&self.dummy.1, &digest);
        for (place, of_salt, expected) in &supplied {
            let is_equal = verify_slices_are_equal(expected, &digest).is_ok();
            if is_equal && *of_salt == salt && reading.candidate.has_secret() {
                reading.matched = Some(Matched {
                    place: *place,
                    digest,
                });
            }
        }
        Ok(())
    }

    fn accept(
        &self,
        reading: Reading<'_>,
        attempt: &Attempt,
        now: UnixTime,
    ) -> Option<Arc<Client>> {
        let client = reading.client?;
        let Matched { place, digest } = reading.matched?;
        let secret = client.secrets.get(place)?;
        if !reading.was_right_from_here {
            self.proven
                .remember(reading.presented, attempt.network, digest);
        }
        if let Some(id) = &secret.id {
            self.used.note(id, now);
        }
        Some(client)
    }

    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, reason = "the test version uses self")
    )]
    fn note(&self, _operation: Operation) {
        #[cfg(test)]
        self.done.lock().expect("a test").push(_operation);
    }
}

/// The secrets that authenticate a client now, with their indexes; none if the client is unknown,
/// disabled, expired or registered for assertions.
fn live_secrets(client: Option<&Client>, now: UnixTime) -> impl Iterator<Item = (usize, &Secret)> {
    let usable = |client: &&Client| {
        client.is_usable(now) && matches!(client.authentication, Authentication::Secret)
    };
    let secrets = client
        .filter(usable)
        .into_iter()
        .flat_map(|client| client.secrets.iter().enumerate());
    secrets.filter(move |(_, secret)| secret.is_live(now))
}

/// The live secret with this digest.
fn place_of(client: Option<&Client>, known: Option<Digest>, now: UnixTime) -> Option<Matched> {
    let digest = known?;
    let mut live = live_secrets(client, now);
    let (place, _) = live.find(|(_, secret)| secret.digests().contains(&digest))?;
    Some(Matched { place, digest })
}

/// Always compares with both.
fn is_one_of(digests: &[Digest; 2], digest: &Digest) -> bool {
    let [first, second] = digests
        .each_ref()
        .map(|it| verify_slices_are_equal(it, digest).is_ok());
    first | second
}
