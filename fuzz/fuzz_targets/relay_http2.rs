//! The relay between a client of HTTP/2 and an upstream of HTTP/1.1: any frames and any answers,
//! with stalls, ends and resets in any order. A recorder checks all frames that the client receives
//! and all bytes that the upstream receives.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(
    dead_code,
    unused_imports,
    reason = "the property test uses more of it"
)]
#[path = "../../tests/it/relay/recorder/mod.rs"]
mod recorder;

fuzz_target!(|data: &[u8]| recorder::http2::run(data));
