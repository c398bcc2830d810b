//! Key sets with too many keys, or the same key id twice.

use super::draft::Draft;
use crate::support::AUDIENCE;
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::get;
use crate::support::keys::{Alg, TestKey};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;

struct World {
    authority: Authority,
    _upstream: Upstream,
    sidecar: Sidecar,
}

impl World {
    async fn start(authority: Authority) -> Self {
        let upstream = Upstream::start();
        let yaml = format!(
            "stateDir: \"@DIR@\"\nauthorities: {{ users: {{ issuer: \"{}\" }} }}\ninbound:\n  - {{ \
             name: api, listen: \
             127.0.0.1:0, upstream: \"{}\", authorities: [users], audiences: [{AUDIENCE}], rules: \
             [{{ paths: [\"/**\"] }}] }}\n",
            authority.issuer(),
            upstream.url()
        );
        let sidecar = Sidecar::start(&yaml).await;
        authority.wait_for_fetches(Endpoint::Jwks, 1).await;
        let world = Self {
            authority,
            _upstream: upstream,
            sidecar,
        };
        while world
            .outcome_of(&world.token(&world.authority.key("es256-1")))
            .await
            .0
            != 200
        {
            tokio::task::yield_now().await;
        }
        world
    }

    fn token(&self, key: &TestKey) -> Draft {
        Draft::new(&self.authority.issuer(), key)
    }

    async fn outcome_of(&self, token: &Draft) -> (u16, String) {
        let bearer = format!("Bearer {}", token.sign());
        let answer = get(
            self.sidecar.address("api"),
            "/",
            &[("Authorization", &bearer)],
        )
        .await;
        (
            answer.status,
            answer.header("x-m2m-reason").unwrap_or("-").to_owned(),
        )
    }
}

fn refused(reason: &str) -> (u16, String) {
    (401, reason.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_keys_with_one_id_both_are_tried_if_they_fit() {
    let authority = Authority::start();
    let namesakes = [
        ("es256-1", Alg::ES256),
        ("es256-1", Alg::RS256),
        ("es256-1", Alg::EdDSA),
    ];
    let namesakes = namesakes.map(|(kid, alg)| TestKey::generate(kid, alg));
    for key in &namesakes {
        authority.publish_jwk(key.public_jwk());
    }
    // With the same id, but not for signatures.
    let mut encryption = TestKey::generate("es256-1", Alg::ES384).public_jwk();
    encryption["use"] = "enc".into();
    authority.publish_jwk(encryption);
    let world = World::start(authority).await;
    for key in &namesakes {
        assert_eq!(world.outcome_of(&world.token(key)).await.0, 200, "{key:?}");
    }
    let impostor = TestKey::generate("es256-1", Alg::ES256);
    assert_eq!(
        world.outcome_of(&world.token(&impostor)).await,
        refused("signature")
    );
    assert_eq!(
        world
            .outcome_of(&world.token(&TestKey::generate("es256-1", Alg::ES384)))
            .await,
        refused("algorithm")
    );
    // A signature of the one under the algorithm of the other.
    let mixed = world.token(&namesakes[2]).header("alg", "\"ES256\"");
    assert_eq!(world.outcome_of(&mixed).await, refused("signature"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_id_two_fitting_keys_are_tried_and_each_gets_its_turn() {
    let authority = Authority::start();
    // Those that do not fit are not counted.
    authority.add_key("ed-1", Alg::EdDSA);
    authority.add_key("rs-1", Alg::RS256);
    let keys: Vec<_> = (2..=7)
        .map(|n| authority.add_key(&format!("es256-{n}"), Alg::ES256))
        .collect();
    let world = World::start(authority).await;
    for (key, number) in keys.iter().zip(2..) {
        // Of seven keys, those that verified lately are tried; each of the others after a few
        // tokens.
        let mut refusals = 0;
        loop {
            let anonymous = world.outcome_of(&world.token(key).no_header("kid")).await;
            if anonymous.0 == 200 {
                break;
            }
            assert_eq!(anonymous, refused("signature"), "key {number}");
            refusals += 1;
            assert!(refusals <= 1000, "key {number}");
        }
        let again = world.outcome_of(&world.token(key).no_header("kid")).await;
        assert_eq!(again.0, 200, "key {number} has verified lately");
        assert_eq!(
            world.outcome_of(&world.token(key)).await.0,
            200,
            "key {number}, named"
        );
    }
    for kid in ["ed-1", "rs-1"] {
        let token = world.token(&world.authority.key(kid)).no_header("kid");
        assert_eq!(world.outcome_of(&token).await.0, 200, "{kid}");
    }
}
