//! The authorities of the listeners: their keys, and what they have revoked.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Parts, StartError, unusable};
use crate::config::Config;
use crate::domain::duration::written;
use crate::domain::secret::SharedSecret;
use crate::files;
use crate::jose::key_set::{LeftOut, join};
use crate::jose::live_keys::{self, Keys};
use crate::token_source::Authentication;
use crate::verifier::{
    Authority, AuthorityConfig, IntrospectionClient, KeptLists, Method, OwnIssuer,
};

impl Parts {
    pub(super) fn authorities(
        &self,
        config: &Config,
        own: Option<&OwnIssuer>,
    ) -> Result<HashMap<String, Arc<Authority>>, StartError> {
        let mut authorities = HashMap::new();
        for each in &config.authorities {
            let introspection = self.introspection_client(config, each)?;
            let authority = Authority::new(
                each.clone(),
                self.clock.clone(),
                own.cloned(),
                introspection,
            );
            self.watch_revocations(&authority, each, &config.state_dir)?;
            let source = authority.source(&config.state_dir);
            let source = source.map_err(|error| unusable(&each.name)(error.to_string()))?;
            if let Some(source) = source {
                if source.kept_at.is_some() {
                    make_state_dir(&config.state_dir);
                }
                let (keys, observe) = (authority.keys().clone(), self.key_observer(&authority));
                self.tasks.spawn(format!("keys of {}", each.name), move || {
                    keys.clone().run(source.clone(), observe.clone())
                });
            }
            let (keys, name) = (authority.keys().clone(), each.name.clone());
            self.metrics.on_scrape(move |metrics| {
                metrics.jwks_age(&name, keys.age());
                metrics.clock_skew(&name, keys.clock_skew());
            });
            authorities.insert(each.name.clone(), authority);
        }
        Ok(authorities)
    }

    /// Keeps asking an authority what it has revoked, and says which way it is asked.
    fn watch_revocations(
        &self,
        authority: &Authority,
        config: &AuthorityConfig,
        state_dir: &Path,
    ) -> Result<(), StartError> {
        let name = authority.name();
        let revocation = authority.revocation().clone();
        if !revocation.needs_run() {
            let method = revocation.method();
            if config.revocation.is_none_unasked(&config.keys) {
                tracing::warn!(authority = name, revocation = %method, "revocations are not checked");
            } else if !config.require_expiry && matches!(method, Method::None(_)) {
                tracing::warn!(
                    authority = name,
                    revocation = %method,
                    "tokens without `exp` are accepted and revocations are not checked: such a token works until its key is withdrawn"
                );
            } else {
                tracing::info!(authority = name, revocation = %method, "how revocations are found out");
            }
            return Ok(());
        }
        make_state_dir(state_dir);
        let http = authority
            .revocation_client()
            .map_err(|error| unusable(name)(error.to_string()))?;
        let (metrics, authority_name) = (self.metrics.clone(), name.to_owned());
        let failing = AtomicBool::new(false);
        let serves_for = written(revocation.max_stale());
        let observe = Arc::new(move |result: Result<(), &str>| {
            metrics.revocation_fetched(&authority_name, result.is_ok());
            // Said when it begins and when it is over: questions can be many.
            match (result, failing.swap(result.is_err(), Ordering::AcqRel)) {
                (Err(error), false) => {
                    tracing::warn!(
                        authority = authority_name,
                        error,
                        serves_for,
                        "cannot learn what was revoked; what is known serves until it is that old (`revocation.maxStale`)"
                    );
                }
                (Ok(()), true) => {
                    tracing::info!(authority = authority_name, "learns again what was revoked");
                }
                _ => {}
            }
        });
        let (asking, kept) = (revocation.clone(), KeptLists::at(state_dir));
        self.tasks.spawn(format!("revocations of {name}"), move || {
            asking
                .clone()
                .run(http.clone(), kept.clone(), observe.clone())
        });
        let (of, takes_endless) = (name.to_owned(), !config.require_expiry);
        let observe = Arc::new(move |method: &Method| {
            if takes_endless && matches!(method, Method::None(_)) {
                tracing::warn!(
                    authority = of,
                    revocation = %method,
                    "tokens without `exp` are refused, because nothing could end them; with `revocation: none` they are accepted"
                );
            } else {
                tracing::info!(authority = of, revocation = %method, "how revocations are found out");
            }
        });
        let telling = revocation.clone();
        self.tasks
            .spawn(format!("revocation method of {name}"), move || {
                telling.clone().watch_method(observe.clone())
            });
        let of = name.to_owned();
        self.metrics
            .on_scrape(move |metrics| metrics.revocation_age(&of, revocation.age()));
        Ok(())
    }

    /// The client that introspects an authority's tokens; its secret follows its file.
    fn introspection_client(
        &self,
        config: &Config,
        authority: &AuthorityConfig,
    ) -> Result<Option<IntrospectionClient>, StartError> {
        let Some((client, file)) = introspection_client(config, authority)? else {
            return Ok(None);
        };
        let (path, current) = (file.clone(), client.client_secret.clone());
        self.watch_file(
            format!("introspection secret of {}", authority.name),
            &file,
            move || {
                let secret =
                    files::read_secret(&path).map_err(|error| format!("the file {error}"))?;
                Ok(current.replace(secret))
            },
        );
        Ok(Some(client))
    }

    fn key_observer(&self, authority: &Arc<Authority>) -> live_keys::Observe {
        let (metrics, authority) = (self.metrics.clone(), authority.clone());
        let failing = Mutex::new(Failing::default());
        let told = Mutex::new((Vec::new(), 0));
        Arc::new(move |result| {
            metrics.jwks_fetched(authority.name(), result.is_ok());
            let authority_name = authority.name();
            let mut failing = failing.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(()) => {
                    match std::mem::take(&mut *failing).failures {
                        0 => tracing::debug!(authority = authority_name, "fetched the key set"),
                        failures => {
                            tracing::info!(
                                authority = authority_name,
                                failures,
                                "fetched the key set again"
                            );
                        }
                    }
                    authority.check_clock();
                    tell_left_out(&authority, &told);
                }
                Err(error) => {
                    if failing.is_to_be_said(error) {
                        let failures = failing.failures;
                        tracing::warn!(
                            authority = authority_name,
                            error,
                            failures,
                            "cannot fetch the key set"
                        );
                    }
                }
            }
        })
    }
}

/// A row of failed fetches.
#[derive(Default)]
struct Failing {
    failures: u64,
    last: String,
}

impl Failing {
    /// Counts one. It is said when it is another than the last one; the same one less and less
    /// often.
    fn is_to_be_said(&mut self, error: &str) -> bool {
        self.failures += 1;
        let is_new = self.last != error;
        if is_new {
            error.clone_into(&mut self.last);
        }
        is_new || self.failures.is_power_of_two()
    }
}

/// Says which keys of a set are not used, and why: once, and again when that changes.
fn tell_left_out(authority: &Authority, told: &Mutex<(Vec<LeftOut>, usize)>) {
    let Keys::Usable(keys) = authority.keys().current() else {
        return;
    };
    let now = (keys.left_out().to_vec(), keys.unread());
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    if *told == now {
        return;
    }
    let (meant, faults): (Vec<_>, Vec<_>) = now.0.iter().cloned().partition(|key| key.is_meant);
    let authority = authority.name();
    if !faults.is_empty() {
        tracing::warn!(
            authority,
            keys = join(&faults),
            "keys of the key set are left out: their tokens are refused"
        );
    }
    if !meant.is_empty() {
        tracing::info!(
            authority,
            keys = join(&meant),
            "keys of the key set are not for signatures"
        );
    }
    if now.1 > 0 {
        tracing::warn!(
            authority,
            unread = now.1,
            "the key set is too large: only its first 256 keys are read"
        );
    }
    *told = now;
}

/// The client that introspects an authority's tokens, from the credential that its configuration
/// names, and the file with its secret.
pub(super) fn introspection_client(
    config: &Config,
    authority: &AuthorityConfig,
) -> Result<Option<(IntrospectionClient, PathBuf)>, StartError> {
    let Some(name) = &authority.revocation.credential else {
        return Ok(None);
    };
    let credential = config
        .credentials
        .iter()
        .find(|credential| credential.name == *name);
    let credential = credential
        .ok_or_else(|| unusable(&authority.name)("its credential does not exist".to_owned()))?;
    let (basic, secret_file) = match &credential.authentication {
        Authentication::SecretBasic {
            secret_file,
            encoding,
        } => (Some(*encoding), secret_file),
        Authentication::SecretPost { secret_file } => (None, secret_file),
        _ => {
            let problem =
                "introspection is asked with a client secret, which its credential does not have";
            return Err(unusable(&authority.name)(problem.to_owned()));
        }
    };
    let secret = files::read_secret(secret_file)
        .map_err(|error| unusable(&authority.name)(format!("its credential's secret {error}")))?;
    let (client_id, client_secret) = (credential.client_id.clone(), SharedSecret::new(secret));
    Ok(Some((
        IntrospectionClient {
            client_id,
            client_secret,
            basic,
        },
        secret_file.clone(),
    )))
}

/// A sidecar that fetches keys keeps the last good ones; on a read-only root it does without.
fn make_state_dir(dir: &Path) {
    if let Err(error) = crate::files::private::make_dir(dir) {
        tracing::warn!(dir = %dir.display(), %error, "the state directory cannot be made; keys are kept in memory only");
    }
}
