//! Whether a request went out on a connection that was there already.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tower::{Layer, Service};

tokio::task_local! {
    /// Set when the request of this task has a connection made.
    static CONNECTS: Arc<AtomicBool>;
}

/// What comes of a request, and whether a connection was made for it.
pub(super) async fn noting<F: Future>(request: F) -> (F::Output, bool) {
    let connects = Arc::new(AtomicBool::new(false));
    let output = CONNECTS.scope(connects.clone(), request).await;
    (output, connects.load(Ordering::Relaxed))
}

/// Notes each connection that is made.
#[derive(Clone)]
pub(super) struct NoteConnects;

impl<S> Layer<S> for NoteConnects {
    type Service = Noting<S>;

    fn layer(&self, connector: S) -> Noting<S> {
        Noting(connector)
    }
}

#[derive(Clone)]
pub(super) struct Noting<S>(S);

impl<S: Service<R>, R> Service<R> for Noting<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, target: R) -> S::Future {
        // Outside of a request there is nothing to note.
        let _ = CONNECTS.try_with(|connects| connects.store(true, Ordering::Relaxed));
        self.0.call(target)
    }
}
