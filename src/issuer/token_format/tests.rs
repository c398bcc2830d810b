//! Tests of `token_format`.

use super::*;

const ISSUER: TokenFormat = TokenFormat {
    token_type: TokenType::AccessToken,
    algorithm: Algorithm::ES256,
    scope_claims: Vec::new(),
    lifetime: None,
};

fn audiences(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn settings(name: &str, settings: AudienceSettings) -> ByAudience {
    BTreeMap::from([(name.to_owned(), settings)])
}

#[test]
fn a_clients_setting_for_an_audience_precedes_the_issuers() {
    let issuer = AudienceSettings {
        token_type: Some(TokenType::Jwt),
        algorithm: Some(Algorithm::RS256),
        ..AudienceSettings::default()
    };
    let client = AudienceSettings {
        algorithm: Some(Algorithm::ES384),
        ..AudienceSettings::default()
    };
    let format = ISSUER
        .of(
            &audiences(&["a"]),
            &settings("a", client),
            &settings("a", issuer),
        )
        .unwrap();
    assert_eq!(
        (format.token_type, format.algorithm),
        (TokenType::Jwt, Algorithm::ES384)
    );
}

#[test]
fn an_audience_has_its_settings_in_every_spelling_of_its_uri() {
    let jwt = AudienceSettings {
        token_type: Some(TokenType::Jwt),
        ..AudienceSettings::default()
    };
    let (map, none) = (settings("https://orders.example/", jwt), ByAudience::new());
    for audience in [
        "https://orders.example/",
        "https://Orders.example",
        "https://orders.example:443/",
    ] {
        let format = ISSUER.of(&audiences(&[audience]), &none, &map).unwrap();
        assert_eq!(format.token_type, TokenType::Jwt, "{audience}");
    }
    let other = ISSUER
        .of(&audiences(&["https://orders.example/a"]), &none, &map)
        .unwrap();
    assert_eq!(other.token_type, TokenType::AccessToken);
}

#[test]
fn audiences_with_different_settings_share_no_token() {
    let lifetime = Some(Duration::from_secs(60));
    let short = AudienceSettings {
        access_token_lifetime: lifetime,
        ..AudienceSettings::default()
    };
    let (of_a, none) = (settings("a", short.clone()), ByAudience::new());
    let error = Err(TokenError::MixedTargets);
    assert_eq!(ISSUER.of(&audiences(&["a", "b"]), &none, &of_a), error);
    assert_eq!(ISSUER.of(&audiences(&["b", "c", "a"]), &of_a, &none), error);
    assert_eq!(ISSUER.of(&audiences(&["b", "c"]), &of_a, &none), Ok(ISSUER));
    // The same settings in two places.
    let both = ISSUER.of(&audiences(&["a", "b"]), &of_a, &settings("b", short));
    assert_eq!(both.unwrap().lifetime, lifetime);
}

#[test]
fn a_lifetime_is_at_most_that_of_the_client_and_of_the_audience() {
    let seconds = Duration::from_secs;
    for (own, audience, expected) in [
        (None, None, 9),
        (Some(5), None, 5),
        (None, Some(20), 20),
        (Some(5), Some(3), 3),
        (Some(5), Some(7), 5),
        // Without end, in the plgd profile.
        (Some(0), None, 0),
        (Some(0), Some(3), 3),
    ] {
        let format = TokenFormat {
            lifetime: audience.map(seconds),
            ..ISSUER
        };
        assert_eq!(
            format.lifetime(own.map(seconds), seconds(9)),
            seconds(expected),
            "{own:?} {audience:?}"
        );
    }
}
