//! m2m-sidecar: issues, verifies and injects machine-to-machine OAuth tokens beside a service.
//!
//! The house has nine floors; an arrow may only go down, and siblings on a floor never import each
//! other (`tests/it/tidy.rs` reads the sources and fails otherwise):
//!
//! | floor | rooms |
//! |---|---|
//! | 8 | `main`, `cli`: arguments and exit codes |
//! | 7 | `app`: the composition root; the only place that names everything and spawns tasks |
//! | 6 | `config`: file and environment → a validated `config::Config` |
//! | 5 | `proxy`: the only floor, with `app`, that uses pingora |
//! | 4 | `endpoints`: HTTP answers of our own, as axum handlers |
//! | 3 | `issuer`, `verifier`, `token_source`: authorization server, resource server, client |
//! | 2 | `jose`, `store`, `http_client`, `limits`, `telemetry`: keys, persistence, HTTP, limits, metrics |
//! | 1 | `files`: reading, watching and privately writing small files |
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
