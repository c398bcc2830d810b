//! The cost of a request, or of a token, inside the sidecar, without sockets.
//!
//! One binary, so that the optimised tree is linked once. `cargo bench --bench hot_path -- verify`
//! runs one group.

mod issue;
mod rules;
mod token_source;
mod tokens;
mod verify;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

/// The allocator of the real binary.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Short by default; `--measurement-time 5` measures longer.
fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
}

criterion_group! {
    name = hot_path;
    config = short();
    targets = verify::bench, rules::bench, token_source::bench, issue::bench
}
criterion_main!(hot_path);
