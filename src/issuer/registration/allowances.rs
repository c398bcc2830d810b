//! The members of a client's metadata that say what its requests may choose, and where they may
//! come from.

use std::fmt::Display;

use super::members::{MAX_TEXT, Members};
use super::metadata::{AuthMethod, ClientMetadata};
use crate::domain::network::parse_network;
use crate::domain::owner_pattern::OwnerPattern;
use crate::issuer::client::AssertionAudiences;

const ASSERTION_AUDIENCES: &str = "assertion_audiences";

impl Members<'_> {
    /// Adds these members to the metadata.
    pub(super) fn allowances(&mut self, metadata: ClientMetadata) -> ClientMetadata {
        let owner = |text: &str| OwnerPattern::parse(text).map(|_| ());
        let network = |text: &str| parse_network(text).map(|_| ());
        ClientMetadata {
            allowed_owners: self.parsed("allowed_owners", "an owner, `prefix*` or `*`", owner),
            allow_device_id: self.flag("allow_device_id"),
            allowed_networks: self.parsed(
                "allowed_networks",
                "a network such as `10.0.0.0/8`",
                network,
            ),
            assertion_audiences: self.assertion_audiences(),
            ..metadata
        }
    }

    /// Only a client that signs assertions has `assertion_audiences`.
    pub(super) fn check_assertion_audiences(&mut self, metadata: &ClientMetadata) {
        let is_legacy = metadata.assertion_audiences == AssertionAudiences::Legacy;
        if is_legacy && metadata.auth_method() != AuthMethod::PrivateKeyJwt {
            self.problem(
                ASSERTION_AUDIENCES,
                "`legacy` is for clients of `private_key_jwt`",
            );
        }
    }

    fn assertion_audiences(&mut self) -> AssertionAudiences {
        match self.text_or_empty(ASSERTION_AUDIENCES, MAX_TEXT).as_deref() {
            None | Some("issuer") => AssertionAudiences::Issuer,
            Some("legacy") => AssertionAudiences::Legacy,
            Some(_) => {
                self.problem(ASSERTION_AUDIENCES, "it must be `issuer` or `legacy`");
                AssertionAudiences::Issuer
            }
        }
    }

    /// A list of texts without repetitions, each of which can be parsed.
    fn parsed<E: Display>(
        &mut self,
        name: &str,
        what: &str,
        parse: impl Fn(&str) -> Result<(), E>,
    ) -> Vec<String> {
        let mut texts: Vec<String> = Vec::new();
        for text in self.list(name).unwrap_or_default() {
            match parse(text) {
                Err(why) => self.problem(name, format!("each item is {what}: {why}")),
                Ok(()) if texts.iter().any(|known| known == text) => {}
                Ok(()) => texts.push(text.to_owned()),
            }
        }
        texts
    }
}
