//! Claims of a token's header: algorithm, key, type, extensions.

use serde_json::{Value, json};

use super::World;
use super::attacks::Attack;
use super::draft::Draft;
use crate::support::authority::Authority;
use crate::support::keys::{Alg, TestKey, base64url};

fn attack(name: impl Into<String>, token: &Draft, reason: &'static str) -> Attack {
    (name.into(), token.sign(), reason)
}

/// Algorithms that are none, that are others than the key's, or that take a public key for a
/// secret.
pub fn algorithms(world: &World) -> Vec<Attack> {
    let good = || world.good();
    let mut attacks = Vec::new();
    for alg in [
        "none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "ES512", "ES256K", "RSA1_5",
        "dir",
    ] {
        let token = good().header("alg", &json!(alg).to_string());
        attacks.push((
            format!("alg {alg:?}, no signature"),
            format!("{}.", token.message()),
            "malformed_token",
        ));
        attacks.push(attack(
            format!("alg {alg:?}, another's signature"),
            &token,
            "algorithm",
        ));
    }
    for alg in [
        "es256",
        "ES256 ",
        " ES256",
        "ES-256",
        "ES256\0",
        "A128KW",
        "ed25519",
        "ＥＳ２５６",
    ] {
        let token = good().header("alg", &json!(alg).to_string());
        attacks.push(attack(format!("alg {alg:?}"), &token, "algorithm"));
    }
    for alg in [
        "null",
        "1",
        "true",
        "[\"ES256\"]",
        "{\"alg\":\"ES256\"}",
        "[]",
    ] {
        attacks.push(attack(
            format!("alg {alg}"),
            &good().header("alg", alg),
            "algorithm",
        ));
    }
    attacks.push(attack("no alg", &good().no_header("alg"), "algorithm"));
    // The key is known and the signature right, but the key may not verify with this algorithm.
    for (kid, signing, named) in [
        ("rs256-1", Alg::PS256, "PS256"),
        ("rs256-1", Alg::RS384, "RS384"),
        ("rs256-1", Alg::RS512, "RS512"),
        ("ps256-1", Alg::RS256, "RS256"),
        ("ps256-1", Alg::PS384, "PS384"),
        ("ps256-1", Alg::PS512, "PS512"),
    ] {
        let token = world
            .signed_by(kid)
            .with(signing)
            .header("alg", &format!("\"{named}\""));
        attacks.push(attack(
            format!("{kid} used for {named}"),
            &token,
            "algorithm",
        ));
    }
    // The signature of one key, called that of another.
    for (kid, named, called, reason) in [
        ("es256-1", "ES384", "es384-1", "signature"),
        ("es384-1", "ES256", "es256-1", "signature"),
        ("rs256-1", "PS256", "ps256-1", "signature"),
        ("rs256-1", "ES256", "es256-1", "signature"),
        ("es256-1", "RS256", "rs256-1", "signature"),
        ("es256-1", "EdDSA", "eddsa-1", "signature"),
        ("eddsa-1", "ES256", "es256-1", "signature"),
        ("rs256-1", "RS256", "es256-1", "algorithm"),
        ("es256-1", "ES256", "rs256-1", "algorithm"),
        ("es384-1", "ES384", "es256-1", "algorithm"),
    ] {
        let token = world
            .signed_by(kid)
            .header("alg", &json!(named).to_string());
        let token = token.header("kid", &json!(called).to_string());
        attacks.push(attack(
            format!("{kid} signs as {named} of {called}"),
            &token,
            reason,
        ));
    }
    for (name, secret) in public_keys_as_secrets(world) {
        for kid in ["es256-1", "rs256-1"] {
            let token = world.users.token().kid(kid).hmac(&secret).sign();
            attacks.push((format!("HS256 with {name}, kid {kid}"), token, "algorithm"));
        }
    }
    attacks
}

/// Everything public that a careless verifier could take for the secret of an HMAC.
fn public_keys_as_secrets(world: &World) -> Vec<(&'static str, Vec<u8>)> {
    let jwks = world.users.jwks();
    let named = |kid: &str| {
        let keys = jwks["keys"].as_array().expect("a list").clone();
        keys.into_iter()
            .find(|key| key["kid"] == kid)
            .expect("it is published")
    };
    let bytes = |key: &Value, name: &str| {
        use base64::Engine;
        let text = key[name].as_str().expect("a text");
        base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(text)
            .expect("base64url")
    };
    let (ec, rsa) = (named("es256-1"), named("rs256-1"));
    let point = [vec![4], bytes(&ec, "x"), bytes(&ec, "y")].concat();
    // SubjectPublicKeyInfo of a P-256 key (RFC 5480 §2): always this, then the point.
    let prefix = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
    let prefix = (0..prefix.len())
        .step_by(2)
        .map(|n| u8::from_str_radix(&prefix[n..n + 2], 16).expect("hex"));
    let spki = [prefix.collect::<Vec<_>>(), point.clone()].concat();
    let encoded = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(&spki)
    };
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----",
        &encoded[..64],
        &encoded[64..]
    );
    vec![
        ("the JWK", ec.to_string().into_bytes()),
        (
            "the JWK over lines",
            serde_json::to_vec_pretty(&ec).expect("JSON"),
        ),
        ("the key set", jwks.to_string().into_bytes()),
        (
            "x as text",
            ec["x"].as_str().expect("a text").as_bytes().to_vec(),
        ),
        ("x as bytes", bytes(&ec, "x")),
        ("the point", point),
        ("the DER form", spki),
        ("the PEM form", pem.clone().into_bytes()),
        (
            "the PEM form with a line feed",
            format!("{pem}\n").into_bytes(),
        ),
        ("n as bytes", bytes(&rsa, "n")),
        (
            "n as text",
            rsa["n"].as_str().expect("a text").as_bytes().to_vec(),
        ),
        ("the key id", b"es256-1".to_vec()),
        ("the issuer", world.users.issuer().into_bytes()),
        ("nothing", Vec::new()),
    ]
}

/// Keys that the token brings along, and ids of keys that are none.
pub fn keys(world: &World, evil: &Authority) -> Vec<Attack> {
    let mut attacks = Vec::new();
    let own = TestKey::generate("own", Alg::ES256);
    let own_jwk = own.public_jwk().to_string();
    let url = json!(evil.jwks_url()).to_string();
    let certificate = json!([base64url([0x30; 64])]).to_string();
    for (member, value) in [
        ("jwk", own_jwk.as_str()),
        ("jku", &url),
        ("x5u", &url),
        ("x5c", &certificate),
        ("x5t", "\"AAAA\""),
        ("x5t#S256", "\"AAAA\""),
    ] {
        let forged = world.good().by(&own).header(member, value);
        attacks.push(attack(
            format!("{member} of one's own, a known kid"),
            &forged,
            "signature",
        ));
        attacks.push(attack(
            format!("{member} of one's own, no kid"),
            &forged.clone().no_header("kid"),
            "signature",
        ));
        let named = forged.header("kid", "\"own\"");
        attacks.push(attack(
            format!("{member} of one's own, its kid"),
            &named,
            "unknown_kid",
        ));
    }
    let long = "k".repeat(4000);
    for kid in [
        "",
        "own",
        "ES256-1",
        " es256-1",
        "es256-1 ",
        "es256-1\0",
        "es256-1\n",
        "es256-0",
        "partner-1",
        "*",
        ".*",
        "null",
        "../../../../dev/null",
        "/dev/null",
        "file:///dev/null",
        "' OR '1'='1",
        "es256-1'; DROP TABLE keys;--",
        "$(id)",
        "\u{fe0f}es256-1",
        long.as_str(),
        url.trim_matches('"'),
    ] {
        let token = world.good().header("kid", &json!(kid).to_string());
        let shown: String = kid.chars().take(40).collect();
        attacks.push(attack(format!("kid {shown:?}"), &token, "unknown_kid"));
    }
    for kid in [
        "1",
        "null",
        "true",
        "[\"es256-1\"]",
        "{\"kid\":\"es256-1\"}",
        "-0",
    ] {
        attacks.push(attack(
            format!("kid {kid}"),
            &world.good().header("kid", kid),
            "malformed_token",
        ));
    }
    attacks
}

/// Tokens of other types, and unknown extensions.
pub fn types_and_extensions(world: &World) -> Vec<Attack> {
    let good = || world.good();
    let mut attacks = Vec::new();
    for typ in [
        "id_token",
        "ID",
        "id+jwt",
        "refresh+jwt",
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "oauth-authz-req+jwt",
        "token-introspection+jwt",
        "m2m-revocations+jwt",
        "JOSE",
        "JWE",
        "JWS",
        "application/jwt",
        "application/application/at+jwt",
        "text/at+jwt",
        "at+jwt ",
        " at+jwt",
        "at+jwt;charset=utf-8",
        "at+jwt,JWT",
        "JWT\0",
        "ＪＷＴ",
        "at jwt",
        "",
    ] {
        let token = good().header("typ", &json!(typ).to_string());
        attacks.push(attack(format!("typ {typ:?}"), &token, "token_type"));
    }
    for typ in ["null", "1", "true", "[\"at+jwt\"]", "{\"at+jwt\":1}"] {
        attacks.push(attack(
            format!("typ {typ}"),
            &good().header("typ", typ),
            "token_type",
        ));
    }
    for crit in [
        "[\"exp\"]",
        "[]",
        "[\"b64\"]",
        "[\"unknown\"]",
        "null",
        "\"exp\"",
        "{}",
        "false",
    ] {
        attacks.push(attack(
            format!("crit {crit}"),
            &good().header("crit", crit),
            "critical_header",
        ));
    }
    for b64 in ["true", "false", "null"] {
        attacks.push(attack(
            format!("b64 {b64}"),
            &good().header("b64", b64),
            "critical_header",
        ));
        let both = good().header("b64", b64).header("crit", "[\"b64\"]");
        attacks.push(attack(
            format!("b64 {b64}, critical"),
            &both,
            "critical_header",
        ));
    }
    let nested = good().header("cty", "\"JWT\"").payload(good().sign());
    attacks.push(attack("a token in a token", &nested, "malformed_token"));
    // DEFLATE of `{}` (RFC 1951), which is JSON only after decompression.
    let zipped = good()
        .header("zip", "\"DEF\"")
        .payload([0xab, 0xae, 0x05, 0x00]);
    attacks.push(attack("zip", &zipped, "malformed_token"));
    let encrypted = good()
        .header("enc", "\"A256GCM\"")
        .header("alg", "\"ECDH-ES\"");
    attacks.push(attack("the header of a JWE", &encrypted, "algorithm"));
    attacks
}

/// Headers that are unusual but say what they must.
pub fn unusual(world: &World) -> Vec<(&'static str, String)> {
    let good = || world.good();
    let escaped = good()
        .header("kid", "\"es256\\u002d1\"")
        .header("alg", "\"\\u0045S256\"");
    vec![
        ("typ JWT", good().header("typ", "\"JWT\"").sign()),
        ("typ jwt", good().header("typ", "\"jwt\"").sign()),
        (
            "typ in full",
            good().header("typ", "\"application/at+jwt\"").sign(),
        ),
        ("typ in capitals", good().header("typ", "\"AT+JWT\"").sign()),
        ("no typ", good().no_header("typ").sign()),
        ("no kid", good().no_header("kid").sign()),
        ("escapes in the header", escaped.sign()),
        (
            "jwk beside the right key",
            good()
                .header("jwk", "{\"kty\":\"oct\",\"k\":\"AA\"}")
                .sign(),
        ),
        (
            "jku beside the right key",
            good().header("jku", "\"https://evil.example\"").sign(),
        ),
        ("cty beside claims", good().header("cty", "\"JWT\"").sign()),
        ("zip beside claims", good().header("zip", "\"DEF\"").sign()),
        ("ES384", world.signed_by("es384-1").sign()),
        ("RS256", world.signed_by("rs256-1").sign()),
        ("PS256", world.signed_by("ps256-1").sign()),
        ("EdDSA", world.signed_by("eddsa-1").sign()),
        (
            "EdDSA by its newer name",
            world
                .signed_by("eddsa-1")
                .header("alg", "\"Ed25519\"")
                .sign(),
        ),
        (
            "EdDSA without kid",
            world.signed_by("eddsa-1").no_header("kid").sign(),
        ),
        (
            "the partner's",
            Draft::new(&world.partner.issuer(), &world.partner.key("partner-1")).sign(),
        ),
        (
            "the partner's, of a kid that both have",
            Draft::new(&world.partner.issuer(), &world.partner.key("es256-1")).sign(),
        ),
    ]
}
