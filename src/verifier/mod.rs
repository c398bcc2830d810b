//! The resource server: verifies bearer tokens and authorizes requests.
//!
//! [`TokenVerifier`] turns a token into a [`VerifiedToken`]. [`Gate`] turns a request with its
//! token into a [`Permit`] or a [`Refusal`]. Only [`Gate`] makes permits, and the proxy forwards
//! nothing without one.

mod authority;
mod bearer;
mod binding;
mod cache;
mod checks;
mod choice;
mod config;
mod discovery;
mod gate;
mod introspection;
mod key_file;
mod key_token;
mod locations;
mod opaque;
mod outage;
mod preflight;
mod recent;
mod refusal;
mod request;
mod revocation;
pub mod rules;
mod share;
mod signed;
mod sources;
mod symptoms;
mod tenants;
mod token;
mod token_verifier;
mod watched_token;

pub use authority::{Authority, IntrospectionClients, OwnIssuer, UnusableCertificates};
pub use bearer::{BearerToken, Scheme, claimed_token};
pub use checks::{Check, CheckObserver};
pub use config::{
    Access, Audiences, AuthorityConfig, CLIENT_ID_CLAIMS, ClaimNeed, Conditions, Config,
    DpopConfig, EqualNeed, KeySource, Needs, RequestPart, RuleConfig, TokenLocations,
};
pub use gate::{Gate, Permit};
pub use introspection::{
    Asked, ConfiguredClient, Introspection, IntrospectionClient, IntrospectionConfig, ObserveAsked,
};
pub use locations::TokenPlace;
pub use refusal::Refusal;
pub use request::{Request, Sender};
pub use revocation::{KeptLists, Method, Observe, ObserveMethod, Revocation, RevocationConfig};
pub use tenants::TenantsState;
pub use token::{TokenFacts, VerifiedToken};
pub use token_verifier::{ObserveCache, PossiblyRevoked, TokenPolicy, TokenVerifier};
pub use watched_token::WatchedToken;

pub use crate::domain::settings::{CorsPreflight, Mode, OnFailure, Profile, RevocationKind};
