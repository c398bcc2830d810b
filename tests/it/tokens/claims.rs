//! Claims of a token: times, audiences, issuers, identities, and JSON that two parsers
//! read differently.

use serde_json::json;

use super::World;
use super::attacks::Attack;
use super::structure::{MAX_TOKEN, of_length};
use crate::support::{AUDIENCE, now};

/// Sets one claim to each of these, in JSON.
fn each(world: &World, claim: &str, reason: &'static str, values: &[&str]) -> Vec<Attack> {
    let name = |value: &str| format!("{claim} {}", value.chars().take(60).collect::<String>());
    values
        .iter()
        .map(|value| (name(value), world.good().claim(claim, value).sign(), reason))
        .collect()
}

/// Times that have passed, are to come, or are none.
pub fn times(world: &World) -> Vec<Attack> {
    let (past, future) = ((now() - 61).to_string(), (now() + 120).to_string());
    let quoted = format!("\"{}\"", now() + 60);
    let listed = format!("[{}]", now() + 60);
    let no_times = [
        "null",
        "true",
        "false",
        &quoted,
        &listed,
        "[]",
        "{}",
        "\"\"",
        "\"never\"",
        "1e300",
        "-1e300",
        "18446744073709551615",
        "18446744073709551616",
        "9007199254740993.5",
        "99999999999999999999999999",
    ];
    // Texts that JavaScript, YAML or a lenient parser would take for a number.
    let no_json = [
        "1e400",
        "-1e400",
        "NaN",
        "Infinity",
        "-Infinity",
        "0x7fffffff",
        "+1",
        "01",
        ".5",
        "1.",
        "1_000",
        "1e",
        "undefined",
        "",
    ];
    let mut attacks = Vec::new();
    for claim in ["exp", "nbf", "iat"] {
        attacks.extend(each(world, claim, "malformed_claims", &no_times));
        attacks.extend(each(world, claim, "malformed_token", &no_json));
    }
    attacks.extend(each(
        world,
        "exp",
        "expired",
        &[
            &past,
            "0",
            "-0",
            "0.0",
            "-0.0",
            "-1",
            "-9223372036854775808",
            "1e-5",
            "1",
            "1e9",
            "-1e15",
            "1.5",
        ],
    ));
    attacks.extend(each(
        world,
        "nbf",
        "not_yet_valid",
        &[&future, "9223372036854775807", "9e15", "9007199254740991.0"],
    ));
    attacks.extend(each(
        world,
        "iat",
        "issued_in_future",
        &[&future, "9223372036854775807", "9e15"],
    ));
    attacks.push((
        "no exp".to_owned(),
        world.good().no_claim("exp").sign(),
        "no_expiry",
    ));
    for other in ["Exp", "EXP", "exp ", "expires_in", "expiry", "e\u{200b}xp"] {
        let token = world
            .good()
            .no_claim("exp")
            .claim(other, &(now() + 60).to_string());
        attacks.push((
            format!("{other:?} instead of exp"),
            token.sign(),
            "no_expiry",
        ));
    }
    attacks
}

/// Tokens for others, and of others.
pub fn audiences_and_issuers(world: &World) -> Vec<Attack> {
    let mut attacks = vec![
        (
            "no aud".to_owned(),
            world.good().no_claim("aud").sign(),
            "audience",
        ),
        (
            "no iss".to_owned(),
            world.good().no_claim("iss").sign(),
            "unknown_issuer",
        ),
    ];
    for aud in [
        "",
        " ",
        "*",
        "any",
        "null",
        "https://",
        "https://other.example",
        &format!("{AUDIENCE}/"),
        &format!(" {AUDIENCE}"),
        &format!("{AUDIENCE} "),
        &format!("{AUDIENCE}\0"),
        &format!("{AUDIENCE}.evil.example"),
        &format!("x {AUDIENCE}"),
        &format!("{AUDIENCE},x"),
        &AUDIENCE[..AUDIENCE.len() - 1],
        &AUDIENCE.to_uppercase(),
        &AUDIENCE.replace("https", "http"),
        &AUDIENCE.replace("https", "HTTPS"),
        &AUDIENCE.replace(".example", ".example:443"),
        &AUDIENCE.replace('e', "\u{435}"),
    ] {
        let text = json!(aud).to_string();
        attacks.extend(each(
            world,
            "aud",
            "audience",
            &[&text, &format!("[{text}]"), &format!("[{text},\"x\"]")],
        ));
    }
    attacks.extend(each(world, "aud", "audience", &["[]"]));
    let nested = format!("[[\"{AUDIENCE}\"]]");
    let mixed = format!("[\"{AUDIENCE}\",1]");
    let with_null = format!("[null,\"{AUDIENCE}\"]");
    let object = format!("{{\"aud\":\"{AUDIENCE}\"}}");
    let keyed = format!("{{\"{AUDIENCE}\":true}}");
    let broken = [
        "null", "true", "1", &nested, &mixed, &with_null, &object, &keyed,
    ];
    attacks.extend(each(world, "aud", "malformed_claims", &broken));

    let issuer = world.users.issuer();
    for iss in [
        String::new(),
        "*".to_owned(),
        "users".to_owned(),
        format!("{issuer}/"),
        format!("{issuer}#"),
        format!("{issuer} "),
        format!(" {issuer}"),
        format!("{issuer}\0"),
        format!("{issuer}/.well-known/openid-configuration"),
        issuer.to_uppercase(),
        issuer.replace("http://", "https://"),
        issuer.replace("127.0.0.1", "localhost"),
        issuer.replace("127.0.0.1", "127.0.0.1.evil.example"),
        issuer.replace("http://", "http://x@"),
        issuer[..issuer.len() - 1].to_owned(),
        // Another listener trusts it, not this one.
        world.foreign.issuer(),
    ] {
        attacks.extend(each(
            world,
            "iss",
            "unknown_issuer",
            &[&json!(iss).to_string()],
        ));
    }
    let (listed, object) = (
        json!([issuer]).to_string(),
        json!({ "iss": issuer }).to_string(),
    );
    let both = json!([issuer, world.partner.issuer()]).to_string();
    attacks.extend(each(
        world,
        "iss",
        "unknown_issuer",
        &["null", "1", "true", "[]", &listed, &both, &object],
    ));
    // Trusted, but the key is another's. Both have a key of this id.
    let partner = json!(world.partner.issuer()).to_string();
    let stolen = world.good().claim("iss", &partner);
    attacks.push((
        "the partner's name under our signature".to_owned(),
        stolen.sign(),
        "signature",
    ));
    attacks.push((
        "the same without kid".to_owned(),
        stolen.no_header("kid").sign(),
        "signature",
    ));
    let foreign = world.good().by(&world.foreign.key("es256-1"));
    attacks.push((
        "a foreign signature under our name".to_owned(),
        foreign.sign(),
        "signature",
    ));
    attacks.push((
        "the same without kid".to_owned(),
        foreign.no_header("kid").sign(),
        "signature",
    ));
    attacks
}

/// Identities and rights of a wrong kind.
pub fn identities_and_scopes(world: &World) -> Vec<Attack> {
    let mut attacks = Vec::new();
    for claim in ["sub", "client_id", "azp", "jti"] {
        let wrong = ["1", "null", "true", "[\"tester\"]", "{\"$ne\":\"\"}"];
        attacks.extend(each(world, claim, "malformed_claims", &wrong));
    }
    // The listener's identity headers carry them.
    let unfit = [
        "\"a\\r\\nx-admin: 1\"",
        "\"a\\nb\"",
        "\"a\\u0000\"",
        "\" tester\"",
        "\"tester \"",
        "\"tester\\t\"",
        "\"\\u007f\"",
    ];
    for claim in ["sub", "client_id"] {
        attacks.extend(each(world, claim, "malformed_claims", &unfit));
    }
    for claim in ["scope", "scp"] {
        let wrong = [
            "1",
            "null",
            "true",
            "{}",
            "[1]",
            "[null]",
            "[[\"a\"]]",
            "{\"a\":true}",
            "\"a\\tb\"",
            "\"a\\nb\"",
            "\"a\\\"b\"",
            "\"\\u00e9\"",
            "[\"a\\u0000\"]",
        ];
        attacks.extend(each(world, claim, "malformed_claims", &wrong));
    }
    // Two lists of rights: to believe either would give what the other withholds.
    let differing = [
        "\"devices:read admin\"",
        "[\"devices:read\",\"admin\"]",
        "\"\"",
        "[]",
        "\"admin\"",
        "\"Devices:read\"",
    ];
    attacks.extend(each(world, "scp", "malformed_claims", &differing));
    let bound = [
        "{\"jkt\":\"x\"}",
        "{\"x5t#S256\":\"x\"}",
        "{\"jwk\":{}}",
        "{\"unknown\":1}",
        "{}",
        "null",
        "[]",
        "\"\"",
        "1",
    ];
    attacks.extend(each(world, "cnf", "sender_constrained", &bound));
    attacks
}

/// Payloads that are no claims, or that say two things.
pub fn json(world: &World) -> Vec<Attack> {
    let claims = world.good().claims_json();
    let open = &claims[..claims.len() - 1];
    let mut attacks: Vec<Attack> = [
        ("a list", "[]".to_owned()),
        ("a list of claims", format!("[{claims}]")),
        ("a text", "\"{}\"".to_owned()),
        ("a number", "1".to_owned()),
        ("null", "null".to_owned()),
        ("true", "true".to_owned()),
        ("no JSON", "iss=x".to_owned()),
        ("cut off", open.to_owned()),
        ("with a comma too many", format!("{open},}}")),
        ("with a comment", format!("{open}/* */}}")),
        ("in single quotes", claims.replace('"', "'")),
        ("with a byte order mark", format!("\u{feff}{claims}")),
        ("twice", format!("{claims}{claims}")),
        ("followed by a NUL", format!("{claims}\0")),
        (
            "with a raw control character",
            format!("{open},\"x\":\"\n\"}}"),
        ),
        (
            "with half a surrogate pair",
            format!("{open},\"x\":\"\\ud800\"}}"),
        ),
        (
            "with an unknown escape",
            format!("{open},\"x\":\"\\x41\"}}"),
        ),
        ("with exp again", format!("{open},\"exp\":1}}")),
        (
            "with exp again, escaped",
            format!("{open},\"\\u0065xp\":1}}"),
        ),
        (
            "with exp before",
            format!("{{\"exp\":99999999999,{}", &claims[1..]),
        ),
        (
            "with iss again",
            format!("{open},\"iss\":\"{}\"}}", world.partner.issuer()),
        ),
        ("with aud again", format!("{open},\"aud\":\"x\"}}")),
        ("with sub again", format!("{open},\"sub\":\"root\"}}")),
        (
            "with sub again, alike",
            format!("{open},\"sub\":\"tester\"}}"),
        ),
        ("with scope again", format!("{open},\"scope\":\"admin\"}}")),
        ("with cnf twice", format!("{open},\"cnf\":1,\"cnf\":2}}")),
        (
            "with a member twice, deep inside",
            format!("{open},\"x\":[{{\"y\":{{\"a\":1,\"a\":2}}}}]}}"),
        ),
        (
            "with 128 levels",
            format!("{open},\"x\":{}1{}}}", "[".repeat(128), "]".repeat(128)),
        ),
        (
            "with 2,000 levels",
            format!("{open},\"x\":{}{}}}", "[".repeat(2000), "]".repeat(2000)),
        ),
        (
            "with 2,000 levels, not closed",
            format!("{open},\"x\":{}", "[".repeat(2000)),
        ),
        (
            "with 500 objects in each other",
            format!(
                "{open},\"x\":{}1{}}}",
                "{\"x\":".repeat(500),
                "}".repeat(500)
            ),
        ),
    ]
    .into_iter()
    .map(|(name, payload)| {
        (
            format!("a payload {name}"),
            world.good().payload(payload).sign(),
            "malformed_token",
        )
    })
    .collect();
    for (name, payload) in [
        ("not UTF-8", &b"{\"iss\":\"\xff\"}"[..]),
        ("of zeros", &[0; 20]),
        ("empty", b""),
    ] {
        let (token, reason) = (world.good().payload(payload).sign(), "malformed_token");
        attacks.push((format!("a payload {name}"), token, reason));
    }
    attacks.push((
        "a payload without claims".to_owned(),
        world.good().payload("{}").sign(),
        "unknown_issuer",
    ));
    attacks
}

/// Claims that are unusual but say what they must.
pub fn unusual(world: &World) -> Vec<(&'static str, String)> {
    let good = || world.good();
    let spaced = good()
        .claims_json()
        .replace(",\"", " ,\r\n\t\"")
        .replace("\":", "\" : ");
    vec![
        (
            "aud as a text",
            good().claim("aud", &format!("\"{AUDIENCE}\"")).sign(),
        ),
        (
            "aud among others",
            good()
                .claim("aud", &format!("[\"\",\"x\",\"{AUDIENCE}\"]"))
                .sign(),
        ),
        (
            "exp within the skew",
            good().claim("exp", &(now() - 30).to_string()).sign(),
        ),
        (
            "exp with a fraction",
            good().claim("exp", &format!("{}.75", now() + 30)).sign(),
        ),
        (
            "exp with an exponent",
            good().claim("exp", "99999e5").sign(),
        ),
        (
            "exp as far as numbers go",
            good().claim("exp", "9223372036854775807").sign(),
        ),
        (
            "nbf and iat within the skew",
            good().claim("nbf", &(now() + 30).to_string()).sign(),
        ),
        (
            "nbf of long ago",
            good().claim("nbf", "-9223372036854775808").sign(),
        ),
        (
            "no iat, sub, jti",
            good()
                .no_claim("iat")
                .no_claim("sub")
                .no_claim("jti")
                .sign(),
        ),
        (
            "scope as a list",
            good().claim("scope", "[\"a\",\"b c\"]").sign(),
        ),
        (
            "scp as a list",
            good().no_claim("scope").claim("scp", "[\"a\"]").sign(),
        ),
        (
            "scope and scp alike",
            good().claim("scp", "[\"devices:read\"]").sign(),
        ),
        ("no scope", good().no_claim("scope").sign()),
        (
            "escaped names",
            good()
                .no_claim("exp")
                .claim("\\u0065xp", &(now() + 60).to_string())
                .sign(),
        ),
        ("white space", good().payload(format!(" {spaced}\n")).sign()),
        (
            "a hundred levels",
            good()
                .claim("x", &format!("{}1{}", "[".repeat(100), "]".repeat(100)))
                .sign(),
        ),
        (
            "an identity beyond ASCII",
            good().claim("sub", "\"\\u00e9\"").sign(),
        ),
        (
            "unknown claims",
            good()
                .claim("roles", "[\"a\",{\"b\":null}]")
                .claim("", "\"\u{1f600}\"")
                .sign(),
        ),
        ("exactly 8 KiB", of_length(&good(), MAX_TOKEN)),
    ]
}
