//! The credentials: their tokens are fetched, counted and renewed.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::part::{Life, Part};
use super::Build;
use crate::config::Readiness;
use crate::domain::clock::SharedClock;
use crate::telemetry::Metrics;
use crate::token_source::{self, CredentialGrant, Event, TokenSource};

pub(super) type Credentials = HashMap<String, TokenSource>;

impl Build<'_> {
    pub(super) fn credentials(&mut self) -> Credentials {
        let prefetch = self.config.readiness.contains(&Readiness::Credentials);
        let mut credentials = HashMap::new();
        for each in &self.config.credentials {
            // Readiness that waits for the first request could wait without end.
            let is_exchanging = each.grant == CredentialGrant::TokenExchange;
            let key = token_source::Config {
                prefetch: (each.prefetch || prefetch) && !is_exchanging,
                ..each.clone()
            };
            let part = self.before.credentials.find(&key);
            let part = part.unwrap_or_else(|| self.credential(key.clone()));
            credentials.insert(each.name.clone(), (**part).clone());
            self.parts.credentials.put(key, part);
        }
        credentials
    }

    fn credential(&self, config: token_source::Config) -> Arc<Part<TokenSource>> {
        let metrics = self.process.metrics.clone();
        let observer: token_source::Observer = Arc::new(move |event| observe(&metrics, &event));
        let clock = self.process.clock.clone();
        let source = TokenSource::new(config, clock.clone(), observer);
        let running = source.clone();
        Part::new(source, move |life: &mut Life| begin(life, &running, clock))
    }
}

fn begin(life: &mut Life, source: &TokenSource, clock: SharedClock) {
    let name = source.name();
    let run = source.clone();
    // At the end it keeps its token.
    life.tasks
        .spawn_with_end(format!("token of {name}"), move |stop| {
            run.clone().run(stop.cancelled_owned())
        });
    if source.config().rotation.is_some() {
        let run = source.clone();
        life.tasks.spawn(format!("secret of {name}"), move || {
            run.clone().run_rotation()
        });
    }
    if source.config().sink.is_some() {
        let run = source.clone();
        life.tasks
            .spawn(format!("file of {name}"), move || run.clone().run_sink());
    }
    let (read, removed) = (source.clone(), name.to_owned());
    let reading = life.metrics.read_at_scrape(
        move |metrics| {
            let (status, now) = (read.status(), clock.now());
            let left = status.expires_at.map(|expires| now.until(expires));
            let age = status.last_refresh.map(|refreshed| refreshed.until(now));
            metrics.credential(read.name(), left, age, status.clock_skew);
        },
        move |metrics| metrics.credential(&removed, None, None, None),
    );
    life.keep(reading);
}

fn observe(metrics: &Metrics, event: &Event<'_>) {
    match event {
        Event::Fetched { credential } => metrics.token_fetched(credential, "ok"),
        Event::Failed { credential, error } => metrics.token_fetched(credential, error.code()),
        Event::Written { credential, ok } => metrics.token_written(credential, *ok),
    }
}
