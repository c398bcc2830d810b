//! The registration of clients at the management API: requests are read into [`ClientMetadata`],
//! with every problem at once.

mod allowances;
mod audience_settings;
mod certificate_members;
mod client_members;
mod exchange_members;
mod federated_member;
mod foreign;
mod members;
mod metadata;
mod request;
mod stored;

pub use foreign::{Meaning, kept_members};
pub use members::FieldProblem;
pub(super) use members::Members;
pub use metadata::ClientMetadata;
pub(super) use metadata::seconds_schema;
pub use request::ClientRequest;
#[cfg(test)]
pub use request::MEMBERS;
pub(super) use request::{ServerSet, read_new, read_patched};
pub use stored::client;
