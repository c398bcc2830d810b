//! How long tokens may be, and how large the heads that follow from it.

use super::{config, problems, warnings};

const LISTENER: &str =
    "upstream: \"http://127.0.0.1:9\", audiences: any, rules: [{ paths: [\"/**\"] }]";

/// An issuer with this section more, these authorities, and a listener for each of them and for
/// both.
fn text(issuer: &str, a: &str, own: &str) -> String {
    format!(
        "issuer:\n  url: http://127.0.0.1:8080\n  listen: 127.0.0.1:8080\n{issuer}\
         authorities:\n  a: {{ issuer: \"https://a.example\"{a} }}\n  own: {{ issuer: \
         \"http://127.0.0.1:8080\"{own} }}\n\
         inbound:\n  - {{ name: a, listen: 127.0.0.1:1, authorities: [a], {LISTENER} }}\n  \
         - {{ name: own, listen: 127.0.0.1:2, authorities: [own], {LISTENER} }}\n  \
         - {{ name: both, listen: 127.0.0.1:3, authorities: [a, own], issuer: true, \
         identityHeaders: {{ x-iss: iss }}, {LISTENER} }}\n"
    )
}

/// In KiB: the tokens of `a`, of the issuer and of it as an authority, and the heads of the
/// listeners, the issuer's last.
fn sizes(issuer: &str, a: &str, own: &str) -> ([usize; 3], [usize; 4]) {
    let config = config(&text(issuer, a, own));
    let role = config.issuer.unwrap();
    let of = |name: &str| {
        config
            .authorities
            .iter()
            .find(|it| it.name == name)
            .unwrap()
            .max_token_size
    };
    let head = |name: &str| {
        config
            .inbound
            .iter()
            .find(|it| it.name == name)
            .unwrap()
            .max_head
    };
    let tokens = [of("a"), role.issuer.max_token_size, of("own")];
    let heads = [head("a"), head("own"), head("both"), role.max_head];
    (
        tokens.map(|size| size / 1024),
        heads.map(|size| size / 1024),
    )
}

#[test]
fn heads_are_as_large_as_the_tokens_of_a_listener_need() {
    assert_eq!(sizes("", "", ""), ([8, 8, 8], [32, 32, 32, 32]));
    assert_eq!(
        sizes("", ", profile: plgd", ""),
        ([32, 8, 8], [56, 32, 56, 32])
    );
    assert_eq!(
        sizes("", ", profile: plgd, maxTokenSize: 4KiB", ""),
        ([4, 8, 8], [32, 32, 32, 32])
    );
    assert_eq!(
        sizes("", ", maxTokenSize: 64KiB", ", maxTokenSize: 12KiB"),
        ([64, 8, 12], [88, 36, 88, 32])
    );
    assert_eq!(
        sizes("  profile: plgd\n", "", ""),
        ([8, 32, 32], [32, 56, 96, 96])
    );
    let all = "  profile: plgd\n  maxTokenSize: 16KiB\n  authorities: [self, a]\n";
    assert_eq!(
        sizes(all, ", maxTokenSize: 64KiB", ""),
        ([64, 16, 16], [88, 40, 128, 128])
    );
}

#[test]
fn a_size_is_from_1_kib_to_64_kib() {
    for wrong in ["0", "1023", "65537", "65KiB", "1GiB"] {
        let texts = [
            (
                text("", &format!(", maxTokenSize: {wrong}"), ""),
                "authorities.a.maxTokenSize",
            ),
            (
                text(&format!("  maxTokenSize: {wrong}\n"), "", ""),
                "issuer.maxTokenSize",
            ),
        ];
        for (text, key) in texts {
            let found = problems(&text);
            let expected = format!("{key}: it must be from 1KiB to 64KiB");
            assert!(
                found.iter().any(|problem| problem.contains(&expected)),
                "{found:?}"
            );
        }
    }
}

#[test]
fn sizes_that_are_of_no_use_are_warned_of() {
    let warned = |issuer: &str, a: &str, own: &str| -> Vec<String> {
        let found = warnings(&text(issuer, a, own));
        found
            .into_iter()
            .filter(|it| it.contains("maxTokenSize"))
            .collect()
    };
    assert!(warned("", ", maxTokenSize: 64KiB", "").is_empty());
    let found = warned("  maxTokenSize: 16KiB\n", "", ", maxTokenSize: 8KiB");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0]
            .contains("authorities.own.maxTokenSize: this issuer's tokens may have 16384 bytes"),
        "{found:?}"
    );
    let exchange = "  profile: plgd\n  clients: [{ id: c, jwtPrivateKey: { authorities: [a] } }]\n";
    assert!(warned(exchange, ", maxTokenSize: 60KiB", "").is_empty());
    let found = warned(exchange, ", maxTokenSize: 61KiB", "");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0]
            .contains("authorities.a.maxTokenSize: the body of a token request has at most 64KiB"),
        "{found:?}"
    );
    let own =
        "  maxTokenSize: 64KiB\n  clients: [{ id: c, jwksUri: \"https://keys.example/jwks\" }]\n";
    let found = warned(own, "", "");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("issuer.maxTokenSize: the body of a token request has at most 64KiB"),
        "{found:?}"
    );
}
