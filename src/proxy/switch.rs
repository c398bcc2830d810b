//! The replaceable service of a listener.

use std::any::Any;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// A pointer to the current service of a listener. Clones share it.
pub struct Switch<S>(Arc<ArcSwap<Current<S>>>);

/// A service. A request finishes on the one that it began with.
pub struct Current<S> {
    pub service: S,
    /// The parts that the service needs while a request uses it.
    _keeps: Arc<dyn Any + Send + Sync>,
}

impl<S> Clone for Switch<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> Switch<S> {
    /// A switch that points to `service`. `keeps` is dropped after its last request.
    #[must_use]
    pub fn new(service: S, keeps: Arc<dyn Any + Send + Sync>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Current {
            service,
            _keeps: keeps,
        })))
    }

    /// The current service.
    #[must_use]
    pub fn current(&self) -> Arc<Current<S>> {
        self.0.load_full()
    }

    /// Points to the service of `next` from now on.
    pub fn replace(&self, next: &Self) {
        self.0.store(next.0.load_full());
    }
}
