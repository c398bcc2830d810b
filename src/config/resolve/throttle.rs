//! Quotas of calls to upstreams.

use std::time::Duration;

use super::resolver::Resolver;
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::domain::token_use::WhenThrottled;
use crate::limits::throttle::Config;

const SECOND: Duration = Duration::from_secs(1);

/// Resolves `throttle`.
pub(super) fn resolve(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: Option<raw::Throttle>,
) -> Option<Config> {
    let (raw, path) = (raw?, path.key("throttle"));
    let day = Duration::from_hours(24);
    resolver.duration(&path.key("per"), raw.per, SECOND, day);
    let wait = raw.longest_wait();
    let wait_path = path.key("maxWait");
    resolver.duration(&wait_path, wait, SECOND, Duration::from_mins(10));
    let waits = raw.mode == WhenThrottled::Wait;
    if !waits && raw.max_wait.is_some() {
        let message = "it has no effect with `mode: refuse`: remove this key";
        resolver.error(&wait_path, message);
    }
    Some(Config {
        requests: raw.requests,
        per: raw.per.0,
        max_wait: waits.then_some(wait.0),
    })
}
