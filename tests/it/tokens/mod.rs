//! Tokens that try to fool a listener, and good ones beside them that must pass.

mod attacks;
mod authority;
mod claims;
mod draft;
mod forms;
mod headers;
mod memory;
mod padding;
mod signatures;
mod structure;
mod transplants;
mod wycheproof;

use crate::support::AUDIENCE;
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::{RawAnswer, try_send_raw};
use crate::support::keys::Alg;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;
use draft::Draft;

/// A listener `api` that trusts `users` and `partner`, and one that trusts only `foreign`.
struct World {
    users: Authority,
    partner: Authority,
    foreign: Authority,
    upstream: Upstream,
    sidecar: Sidecar,
}

impl World {
    async fn start() -> Self {
        let (users, partner, foreign) =
            (Authority::start(), Authority::start(), Authority::start());
        for alg in [Alg::ES384, Alg::RS256, Alg::PS256, Alg::EdDSA] {
            users.add_key(&format!("{}-1", alg.name().to_ascii_lowercase()), alg);
        }
        // Signed with it was before; it is not published any more.
        users.add_key("es256-0", Alg::ES256);
        users.remove_key("es256-0");
        partner.add_key("partner-1", Alg::ES256);
        let upstream = Upstream::start();
        let listener = |name: &str, authorities: &str| {
            format!(
                "  - {{ name: {name}, listen: 127.0.0.1:0, upstream: \"{}\", authorities: \
                 [{authorities}], \
                 audiences: [{AUDIENCE}], rules: [{{ paths: [\"/**\"] }}] }}\n",
                upstream.url()
            )
        };
        let yaml = format!(
            "stateDir: \"@DIR@\"\nauthorities:\n  users: {{ issuer: \"{}\" }}\n  partner: {{ \
             issuer: \"{}\" }}\n  \
             foreign: {{ issuer: \"{}\" }}\ninbound:\n{}{}",
            users.issuer(),
            partner.issuer(),
            foreign.issuer(),
            listener("api", "users, partner"),
            listener("other", "foreign"),
        );
        let sidecar = Sidecar::start(&yaml).await;
        for authority in [&users, &partner, &foreign] {
            authority.wait_for_fetches(Endpoint::Jwks, 1).await;
        }
        let world = Self {
            users,
            partner,
            foreign,
            upstream,
            sidecar,
        };
        // A token without `kid` may cause a fetch, so the set must have come before the first of
        // them.
        while world.outcome_of(&world.good().sign()).await.0 != 200 {
            tokio::task::yield_now().await;
        }
        world
    }

    /// A token with which nothing is wrong yet.
    fn good(&self) -> Draft {
        Draft::new(&self.users.issuer(), &self.users.key("es256-1"))
    }

    /// One signed by another key of the same authority.
    fn signed_by(&self, kid: &str) -> Draft {
        Draft::new(&self.users.issuer(), &self.users.key(kid))
    }

    async fn outcome_of(&self, token: &str) -> (u16, String) {
        self.outcome_of_header(format!("Bearer {token}").as_bytes())
            .await
    }

    /// Sends an `Authorization` header of these bytes.
    async fn outcome_of_header(&self, value: &[u8]) -> (u16, String) {
        outcome(
            &self
                .send(&[b"Authorization: ", value, b"\r\n"].concat())
                .await,
        )
    }

    /// Sends these header lines.
    async fn send(&self, headers: &[u8]) -> RawAnswer {
        let address = self.sidecar.address("api");
        let head = format!("GET /any HTTP/1.1\r\nHost: {address}\r\n");
        let request = [head.as_bytes(), headers, b"\r\n"].concat();
        try_send_raw(address, request)
            .await
            .unwrap_or_else(|e| panic!("no answer: {e:?}"))
    }
}

fn outcome(answer: &RawAnswer) -> (u16, String) {
    (
        answer.status,
        answer.header("x-m2m-reason").unwrap_or("-").to_owned(),
    )
}
