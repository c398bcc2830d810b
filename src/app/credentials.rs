//! The credentials: how their tokens are fetched, counted and renewed.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Parts, StartError};
use crate::config::{Config, Readiness};
use crate::telemetry::Metrics;
use crate::token_source::{self, Event, TokenSource};

impl Parts {
    pub(super) fn credentials(
        &self,
        config: &Config,
    ) -> Result<HashMap<String, TokenSource>, StartError> {
        let mut credentials = HashMap::new();
        let prefetch = config.readiness.contains(&Readiness::Credentials);
        for each in &config.credentials {
            let metrics = self.metrics.clone();
            let observer: token_source::Observer = Arc::new(move |event| observe(&metrics, &event));
            // Readiness that waits for the first request could wait for ever.
            let each = token_source::Config {
                prefetch: each.prefetch || prefetch,
                ..each.clone()
            };
            let source = TokenSource::new(each.clone(), self.clock.clone(), observer);
            let run = source.clone();
            // At the end it keeps its token.
            self.tasks
                .spawn_with_end(format!("token of {}", each.name), move |stop| {
                    run.clone().run(stop.cancelled_owned())
                });
            if each.rotation.is_some() {
                let run = source.clone();
                self.tasks
                    .spawn(format!("secret of {}", each.name), move || {
                        run.clone().run_rotation()
                    });
            }
            let (scraped, clock) = (source.clone(), self.clock.clone());
            self.metrics.on_scrape(move |metrics| {
                let (status, now) = (scraped.status(), clock.now());
                let left = status.expires_at.map(|expires| now.until(expires));
                let age = status.last_refresh.map(|refreshed| refreshed.until(now));
                metrics.credential(scraped.name(), left, age, status.clock_skew);
            });
            credentials.insert(each.name, source);
        }
        Ok(credentials)
    }
}

fn observe(metrics: &Metrics, event: &Event<'_>) {
    match event {
        Event::Fetched { credential } => metrics.token_fetched(credential, "ok"),
        Event::Failed { credential, error } => metrics.token_fetched(credential, error.code()),
    }
}
