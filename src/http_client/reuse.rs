//! Detects whether a request used an existing connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tower::{Layer, Service};

tokio::task_local! {
    /// Set when the current request opens a connection.
    static CONNECTS: Arc<AtomicBool>;
}

/// The result of a request, and whether it opened a connection.
pub(super) async fn noting<F: Future>(request: F) -> (F::Output, bool) {
    let connects = Arc::new(AtomicBool::new(false));
    let output = CONNECTS.scope(connects.clone(), request).await;
    (output, connects.load(Ordering::Relaxed))
}

/// Records each new connection.
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
        // There is nothing to record outside a request.
        let _ = CONNECTS.try_with(|connects| connects.store(true, Ordering::Relaxed));
        self.0.call(target)
    }
}
