//! Chooses the certificate for a client by the name that it calls (SNI, RFC 6066 §3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::files::Pair;
use crate::domain::client_certificate::AlternativeName;

/// The certificates of a listener, by name.
#[derive(Debug)]
pub(super) struct Certificates {
    all: Vec<Arc<CertifiedKey>>,
    /// By exact name in lower case.
    exact: HashMap<String, Vec<usize>>,
    /// By the part of a wildcard name behind `*.`.
    wildcards: HashMap<String, Vec<usize>>,
}

impl Certificates {
    pub(super) fn new(pairs: &[Pair]) -> Self {
        let mut certificates = Self {
            all: pairs.iter().map(|pair| pair.key.clone()).collect(),
            exact: HashMap::new(),
            wildcards: HashMap::new(),
        };
        for (index, pair) in pairs.iter().enumerate() {
            for name in &pair.facts.names {
                let AlternativeName::Dns(name) = name else {
                    continue;
                };
                let name = name.to_ascii_lowercase();
                let (by_name, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut certificates.wildcards, rest.to_owned()),
                    None => (&mut certificates.exact, name),
                };
                by_name.entry(name).or_default().push(index);
            }
        }
        certificates
    }

    /// The certificate for a name: of those for it, else of all, the first one whose key the client
    /// supports. An exact name precedes a wildcard.
    pub(super) fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let name = name.unwrap_or_default().to_ascii_lowercase();
        let parent = name.split_once('.').map_or("", |(_, parent)| parent);
        let exact = self.exact.get(&name);
        let wildcard = self.wildcards.get(parent);
        let named = exact.into_iter().chain(wildcard).flatten();
        let named = named.filter_map(|index| self.all.get(*index));
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        named.chain(&self.all).find(fits).cloned()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}
