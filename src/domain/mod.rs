//! Floor 0: the types that every other floor uses.
//!
//! OAuth names, secrets, claims, scopes, paths, hosts, reason codes, settings, durations and the
//! clock. The only I/O is reading the machine's clocks. No type depends on tokio, SQL or HTTP
//! clients, so plain values can test each.

pub mod actors;
pub mod assertion_audiences;
pub mod claim_pattern;
pub mod claims;
pub mod client_certificate;
pub mod clock;
pub mod cookies;
pub mod distinguished_name;
pub mod duration;
pub mod encryption;
pub mod error_form;
pub mod form;
pub mod hash;
pub mod host;
pub mod host_pattern;
pub mod issuer_name;
pub mod issuer_pattern;
pub mod issuer_url;
pub mod keyed_digest;
pub mod letter_case;
pub mod listen;
pub mod name;
pub mod network;
pub mod no_proxy;
pub mod oauth;
pub mod owner_pattern;
pub mod path;
pub mod pattern;
pub mod printable;
pub mod proven_time;
pub mod public_address;
pub mod query;
pub mod reason;
pub mod revoked;
pub mod scope;
pub mod secret;
pub mod settings;
pub mod spiffe;
pub mod token_use;
pub mod tunnel_host;
pub mod web_origin;
pub mod websocket;
