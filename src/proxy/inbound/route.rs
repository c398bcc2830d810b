//! The service of a request, and the path that the service gets.

use std::sync::Arc;

use super::{Inbound, Route, State};
use crate::proxy::upstream::Upstream;
use crate::verifier::Permit;

impl Inbound {
    /// The route of the rule that permitted a request. `None` when no rule matches, which passes in
    /// shadow mode.
    pub(super) fn route(&self, permit: &Permit) -> Option<&Route> {
        self.routes.get(permit.rule()?)
    }

    /// The service of a permitted request.
    pub(super) fn upstream(&self, state: &State) -> Option<&Arc<Upstream>> {
        let route = self.route(state.permit.as_ref()?);
        self.upstreams.get(route.map_or(0, |route| route.upstream))
    }
}

impl Route {
    /// A path in normal form without the segments that the service does not get.
    pub(super) fn path<'p>(&self, path: &'p str) -> &'p str {
        if self.stripped == 0 {
            return path;
        }
        let rest = path.match_indices('/').nth(self.stripped);
        rest.and_then(|(at, _)| path.get(at..)).unwrap_or("/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_segments_are_stripped() {
        for (stripped, path, expected) in [
            (0, "/a/b", "/a/b"),
            (1, "/a/b", "/b"),
            (1, "/a/b/", "/b/"),
            (1, "/a/", "/"),
            (1, "/a", "/"),
            (2, "/a/b/c%2Fd/e", "/c%2Fd/e"),
            (2, "/a/b", "/"),
        ] {
            let route = Route {
                stripped,
                ..Route::default()
            };
            assert_eq!(route.path(path), expected, "{stripped} of {path}");
        }
    }
}
