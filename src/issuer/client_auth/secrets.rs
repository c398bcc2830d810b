//! `client_secret_basic` and `client_secret_post` (RFC 6749 §2.3.1).
//!
//! A delay comes first: while it lasts, nothing that could be guessed is compared. Then cheap
//! comparisons. What they do not find may be a supplied secret, and then a memory-hard hash is
//! needed: one for each reading of the credentials, if any client of the store has such a secret at
//! all, and whether or not this one has. Unknown client and wrong secret do the same operations in
//! the same order.

use std::net::IpAddr;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::failures::{Attempt, Failures, attempt};
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
use crate::issuer::clients::Clients;
use crate::issuer::token::request::{Candidate, SecretCredentials};
use crate::store::{Store, StoreError};

/// Checks secrets.
pub(super) struct Secrets {
    slow: SlowHashes,
    proven: Proven,
    failures: Failures,
    used: UsedSecrets,
    /// What stands for the secret, its digest and the salt of a client that has none.
    dummy: (Secret, Digest, Salt),
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
    /// The secret that it is.
    matched: Option<Matched>,
    /// Whether it was that secret before, from the same network.
    was_right_from_here: bool,
}

/// A stored secret that was presented.
#[derive(Clone, Copy)]
struct Matched {
    /// Its place among those of its client.
    place: usize,
    /// Which of its digests the presented text has.
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
        let attempt = attempt(
            credentials.candidates().map(|it| it.client_id.as_str()),
            from,
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
            // Of guesses that are hashed at the same time no more are told apart than of those that
            // come one by one.
            self.failures.check(&attempt, now)?;
        }
        let was_right_from_here = right.is_some_and(|place| readings[place].was_right_from_here);
        let accepted =
            right.and_then(|place| self.accept(readings.swap_remove(place), &attempt, now));
        match accepted {
            Some(client) => {
                // A client at work ends no row of failures: another caller behind its address would
                // be free to guess.
                if !was_right_from_here {
                    self.failures.forget(&attempt);
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

    /// The client, if its secret is one that cannot be guessed, or was right from this network
    /// before. The latter is looked up so often only: a guesser may share the network.
    fn despite_delay(
        &self,
        clients: &Clients,
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

    /// As after a restart.
    #[cfg(test)]
    pub(super) fn forget_proven(&self) {
        self.proven.forget();
    }

    /// Everything about a reading that is cheap.
    fn read<'c>(
        &self,
        clients: &Clients,
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

    /// A reading that matches only what was right from the same network before.
    fn recall<'c>(
        &self,
        clients: &Clients,
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

    /// Compares with the supplied secrets, which all have one salt.
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
        // Cheap comparisons have been made, so that this too says whether a guess was right.
        let digest = digest.map_err(|_| {
            self.failures.note_unjudged(attempt, now);
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
        expect(clippy::unused_self, reason = "tests keep what is done")
    )]
    fn note(&self, _operation: Operation) {
        #[cfg(test)]
        self.done.lock().expect("a test").push(_operation);
    }
}

/// The secrets by which a client may be let in now, with their places; none of a client that is
/// unknown, disabled, expired or has to show an assertion.
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

/// Compares with both, whichever it is.
fn is_one_of(digests: &[Digest; 2], digest: &Digest) -> bool {
    let [first, second] = digests
        .each_ref()
        .map(|it| verify_slices_are_equal(it, digest).is_ok());
    first | second
}
