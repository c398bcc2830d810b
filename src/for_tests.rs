//! The parts of the crate that the integration tests, the benches and the fuzz targets use, under
//! the paths of their modules. Every other item is private to the crate, so that the compiler
//! reports unused items.

pub mod app {
    pub use crate::app::{Running, start_with_clock};
}

pub mod config {
    pub use crate::config::{
        Config, editor_schema, json_schema, load, not_served_yet, parse, shape,
    };
}

pub mod domain {
    pub mod clock {
        pub use crate::domain::clock::{Clock, SharedClock, SystemClock, UnixTime};
    }
    pub mod error_form {
        pub use crate::domain::error_form::ErrorForm;
    }
    pub mod hash {
        pub use crate::domain::hash::sha256;
    }
    pub mod oauth {
        pub use crate::domain::oauth::{BasicEncoding, GrantType};
    }
    pub mod path {
        pub use crate::domain::path::{NormalPath, Ordinary};
    }
    pub mod reason {
        pub use crate::domain::reason::Reason;
    }
    pub mod revoked {
        pub use crate::domain::revoked::{HashedClientId, RevokedNow};
    }
    pub mod scope {
        pub use crate::domain::scope::ScopeSet;
    }
    pub mod secret {
        pub use crate::domain::secret::{ExposeSecret, SecretString};
    }
}

pub mod endpoints {
    pub mod admin {
        pub use crate::endpoints::admin::openapi_document;
    }
}

pub mod http_client {
    pub use crate::http_client::{Egress, Failed, FetchTimeouts, HttpAnswer, HttpError};
}

pub mod issuer {
    pub use crate::issuer::{
        Client, Config, Issuer, ListedClients, Profile, SecretFiles, TokenRequest,
    };
    pub mod client {
        pub use crate::issuer::client::{Authentication, Secret};
    }
    pub mod client_secret {
        pub use crate::issuer::client_secret::{generate, hashed};
    }
    pub mod token_format {
        pub use crate::issuer::token_format::{ByAudience, ScopeClaim, TokenType};
    }
}

pub mod jose {
    pub use crate::jose::{ALGORITHMS, Algorithm, parse_algorithm, provider};
    pub mod dpop {
        pub use crate::jose::dpop::NewProof;
    }
    pub mod key_set {
        pub use crate::jose::key_set::KeySet;
    }
    pub mod live_keys {
        pub use crate::jose::live_keys::{Fetch, Fetched, LiveKeys, Renewal, Source};
    }
    pub mod sign {
        pub use crate::jose::sign::SigningKey;
    }
    pub mod verify {
        pub use crate::jose::verify::CompactJws;
    }
}

pub mod proxy {
    pub mod answer {
        pub use crate::proxy::answer::{Challenge, on_the_wire, table};
    }
    pub mod relay {
        pub use crate::proxy::in_memory::{Connect, Relay, Wire};
    }
}

pub mod store {
    pub use crate::store::{Config, Store, StoredClient, StoredSecret, open};
    pub mod tokens {
        pub use crate::store::tokens::{TokenFilter, TokenRecord};
    }
}

pub mod telemetry {
    pub use crate::telemetry::targets;
}

pub mod token_source {
    pub use crate::token_source::{
        AudienceParameter, Authentication, Config, CredentialGrant, TokenEndpoint, TokenSource,
    };
}

pub mod verifier {
    pub use crate::verifier::{
        Access, Audiences, Authority, AuthorityConfig, BearerToken, Config, CorsPreflight,
        DpopConfig, Gate, IntrospectionClients, KeySource, Mode, Needs, OwnIssuer, Profile,
        Request, RevocationConfig, RevocationKind, RuleConfig, Sender, TokenLocations, TokenPolicy,
        TokenVerifier, VerifiedToken,
    };
    pub mod rules {
        pub use crate::verifier::rules::{InvalidRules, PathCase, Rules};
    }
}
