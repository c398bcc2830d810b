//! The relay between a client and an upstream: any bytes of both, cut anywhere, with stalls, ends
//! and resets in any order. A recorder checks all bytes that the upstream and the client receive.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(
    dead_code,
    unused_imports,
    reason = "the property test uses more of it"
)]
#[path = "../../tests/it/relay/recorder/mod.rs"]
mod recorder;

fuzz_target!(|data: &[u8]| recorder::run(data));
