//! The integration tests: real bytes over real sockets, against a fake world (`support`).
//!
//! One file per behaviour. Servers listen on port 0, and tests wait for events, not for a time.
//! `support::logs` searches everything that is logged for the tokens and secrets of the fake world.

mod access_lines;
mod audiences;
mod audit;
mod authorities;
mod bound_clients;
mod bound_tokens;
mod changed_files;
mod client_auth;
mod closing;
mod commands;
mod completions;
#[cfg(target_os = "linux")] // It needs namespaces.
mod compose;
mod conf;
mod connections;
mod decisions;
mod documents;
mod egress;
mod examples;
mod exec;
mod explain;
mod federated;
mod generations;
mod golden;
mod hostile;
mod http2;
mod image;
mod import;
mod inbound;
mod introspection;
mod issued;
mod issuer;
mod issuer_keys;
mod kept_files;
mod limits;
mod listeners;
mod long;
mod loops;
mod management;
mod may_call;
mod mistakes;
mod opened_store;
mod outage_model;
mod outbound;
mod owners;
mod pages;
mod path_case;
mod plgd;
mod protocols;
mod reference;
mod relay;
mod revocation;
mod routes;
mod rules;
mod smoke;
mod store;
mod streams;
mod support;
mod tidy;
mod tls;
mod token_exchange;
mod token_requests;
mod tokens;
#[cfg(target_os = "linux")] // It needs namespaces.
mod transparent;
mod unix_sockets;
mod upstreams;
mod websocket;
