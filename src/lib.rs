//! m2m-sidecar: issues, verifies and injects machine-to-machine OAuth tokens beside a service.
//!
//! The house has eight floors; an arrow may only go down, and siblings on a floor never import each
//! other (`tests/it/tidy.rs` reads the sources and fails otherwise):
//!
//! | floor | rooms |
//! |---|---|
//! | 7 | `main`, `cli`: arguments and exit codes |
//! | 6 | `app`: the composition root; the only place that names everything and spawns tasks |
//! | 5 | `config`: file and environment → a validated `config::Config` |
//! | 4 | `proxy`: the only floor, with `app`, that knows pingora |
//! | 3 | `endpoints`: HTTP answers of our own, as axum handlers |
//! | 2 | `issuer`, `verifier`, `token_source`: authorization server, resource server, client |
//! | 1 | `jose`, `store`, `http_client`, `files`, `limits`, `telemetry`: keys and signatures, persistence, I/O, limits, measurement |
//! | 0 | `domain`: OAuth words, secrets, claims, scopes, paths, reason codes, the clock |
//!
//! ARCHITECTURE.md walks a request through it.

#![forbid(unsafe_code)]
#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the documentation is for the developers of the crate: it covers private items too"
)]

mod app;
mod cli;
mod config;
mod domain;
mod endpoints;
mod files;
pub mod for_tests;
mod http_client;
mod issuer;
mod jose;
mod limits;
mod proxy;
mod store;
mod telemetry;
mod token_source;
mod verifier;

pub use cli::main;
