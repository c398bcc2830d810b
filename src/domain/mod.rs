//! Floor 0: the words every other floor speaks.
//!
//! OAuth names, secrets, claims, scopes, paths, hosts, reason codes, durations and the clock.
//! Nothing here does I/O but to read the machine's clocks, and nothing here knows tokio, SQL or
//! HTTP clients, so every type can be tested with plain values.

pub mod claims;
pub mod clock;
pub mod duration;
pub mod encryption;
pub mod error_form;
pub mod form;
pub mod hash;
pub mod host;
pub mod issuer_name;
pub mod issuer_url;
pub mod letter_case;
pub mod listen;
pub mod name;
pub mod oauth;
pub mod path;
pub mod pattern;
pub mod printable;
pub mod proven_time;
pub mod public_address;
pub mod reason;
pub mod revoked;
pub mod scope;
pub mod secret;
pub mod settings;
pub mod web_origin;
