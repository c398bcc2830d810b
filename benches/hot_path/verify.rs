//! Verifying a bearer token: remembered, new, refused.

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use criterion::Criterion;
use http::HeaderMap;
use m2m_sidecar::for_tests::domain::reason::Reason;
use m2m_sidecar::for_tests::jose::Algorithm;
use m2m_sidecar::for_tests::verifier::{BearerToken, TokenVerifier, VerifiedToken};

use crate::tokens::{Issuing, headers};

/// Enough that neither tokens nor what is remembered of them fits into a processor's caches.
const MANY: usize = 50_000;

/// Verifies the token of a request. Its key is known, so that never waits.
fn verify(verifier: &TokenVerifier, headers: &HeaderMap) -> Result<VerifiedToken, Reason> {
    let token = BearerToken::extract(black_box(headers)).map_err(|refusal| refusal.reason)?;
    finished(verifier.verify(&token))
}

/// The result of a future that waits for nothing but its turn on this thread.
fn finished<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    for _ in 0..3 {
        if let Poll::Ready(done) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return done;
        }
    }
    panic!("keys of this process are not waited for")
}

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verify");
    let es256 = Issuing::new(Algorithm::ES256);
    for (name, count) in [("hit, 1 token", 1), ("hit, 50,000 tokens", MANY)] {
        let verifier = es256.verifier(60_000);
        let tokens: Vec<_> = (0..count)
            .map(|serial| headers(&es256.token(serial)))
            .collect();
        for token in &tokens {
            assert!(verify(&verifier, token).is_ok());
        }
        let mut cycle = tokens.iter().cycle();
        group.bench_function(name, |b| {
            b.iter(|| verify(&verifier, cycle.next().expect("a cycle does not end")).is_ok());
        });
    }
    for (name, algorithm) in [("ES256", Algorithm::ES256), ("RS256", Algorithm::RS256)] {
        let issuing = Issuing::new(algorithm);
        let verifier = issuing.verifier(0);
        let (one, other) = (issuing.token(0), issuing.token(1));
        let good = headers(&one);
        assert!(verify(&verifier, &good).is_ok());
        group.bench_function(format!("new, {name}"), |b| {
            b.iter(|| verify(&verifier, &good).is_ok())
        });
        let (said, _) = one.rsplit_once('.').expect("a JWS");
        let (_, signature) = other.rsplit_once('.').expect("a JWS");
        let forged = headers(&format!("{said}.{signature}"));
        assert_eq!(verify(&verifier, &forged).err(), Some(Reason::Signature));
        group.bench_function(format!("refused signature, {name}"), |b| {
            b.iter(|| verify(&verifier, &forged).is_err());
        });
    }
    group.finish();
}
