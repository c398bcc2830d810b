//! Secrets, delays and slow hashes.

use super::*;

#[tokio::test]
async fn unknown_clients_and_wrong_secrets_do_the_same_operations() {
    let world = World::new().await;
    let document = |extra: serde_json::Value| {
        let mut document = json!({"grant_types": ["client_credentials"]});
        document
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        document
    };
    let (generated, stored) = generate(UnixTime(NOW), None);
    let generated = generated.expose_secret();
    world.add("quick", document(json!({})), vec![stored]).await;
    let old = generate(UnixTime(NOW), Some(UnixTime(NOW))).1;
    world.add("old", document(json!({})), vec![old]).await;
    let off = generate(UnixTime(NOW), None).1;
    world
        .add("off", document(json!({"disabled": true})), vec![off])
        .await;
    let over = generate(UnixTime(NOW), None).1;
    world
        .add("over", document(json!({"expires_at": NOW})), vec![over])
        .await;
    let jwk = SigningKey::generate(Algorithm::ES256).unwrap().public_jwk();
    let (assertion_secret, kept) = generate(UnixTime(NOW), None);
    let keyed = document(json!({"jwks": {"keys": [jwk]}}));
    world.add("keyed", keyed, vec![kept]).await;
    let right_but_keyed = ["keyed:", assertion_secret.expose_secret()].concat();
    let ids = [
        "unknown",
        "configured",
        "quick",
        "old",
        "off",
        "over",
        "keyed",
    ];
    let mut wrong: Vec<String> = ids.iter().map(|id| format!("{id}:wrong")).collect();
    wrong.push(right_but_keyed);
    for basic in &wrong {
        assert_eq!(world.ask(basic).await, REFUSED, "{basic}");
        assert_eq!(
            world.done(),
            [CheckDelay, LookUp, Recall, Compare, NoteFailure],
            "{basic}"
        );
    }
    // One client of the store with a supplied secret, and everyone pays for it.
    world.add_supplied("slow").await;
    wrong.push("slow:wrong".to_owned());
    for basic in &wrong {
        assert_eq!(world.ask(basic).await, REFUSED, "{basic}");
        assert_eq!(
            world.done(),
            [CheckDelay, LookUp, Recall, Compare, Argon2, NoteFailure],
            "{basic}"
        );
    }
    // Two readings of the header are two of everything.
    for basic in ["unknown:wr%20ng", "slow:wr%20ng"] {
        assert_eq!(world.ask(basic).await, REFUSED);
        let both = [LookUp, Recall, Compare, LookUp, Recall, Compare];
        let all = [&[CheckDelay], &both[..], &[Argon2, Argon2, NoteFailure]].concat();
        assert_eq!(world.done(), all, "{basic}");
    }
    // A right secret is found without it.
    assert_eq!(world.ask(&format!("quick:{generated}")).await, Ok(()));
    assert_eq!(world.ask("configured:c0nfigured").await, Ok(()));
    assert!(!world.done().contains(&Argon2));
    assert_eq!(
        world.ask("keyed:").await,
        REFUSED,
        "no secret is none either"
    );
}

#[tokio::test]
async fn a_supplied_secret_is_hashed_once_and_known_while_it_is_live() {
    let world = World::new().await;
    let secret_id = world.add_supplied("slow").await;
    let right = format!("slow:{SUPPLIED}");
    assert_eq!(world.ask(&right).await, Ok(()));
    assert_eq!(world.done(), [CheckDelay, LookUp, Recall, Compare, Argon2]);
    for _ in 0..3 {
        assert_eq!(world.ask(&right).await, Ok(()));
        assert_eq!(world.done(), [CheckDelay, LookUp, Recall, Compare]);
    }
    // Two more secrets, one of them with the same salt: still one evaluation.
    let slow = world.store.client("slow").await.unwrap().unwrap();
    let second = hashed(
        "another secret of it".into(),
        &slow.secrets,
        UnixTime(NOW),
        None,
    )
    .await
    .unwrap();
    assert!(
        world
            .store
            .insert_secret(&slow, &second, None)
            .await
            .unwrap()
    );
    world.issuer.reload().await.unwrap();
    assert_eq!(world.ask("slow:another secret of it").await, Ok(()));
    assert_eq!(world.done(), [CheckDelay, LookUp, Recall, Compare, Argon2]);
    // A proven secret counts only while that very secret is stored.
    let deleted = world
        .store
        .delete_secret("slow", &secret_id, None)
        .await
        .unwrap();
    assert_eq!(deleted, store::DeletedSecret::Done);
    world.issuer.reload().await.unwrap();
    assert_eq!(world.ask(&right).await, REFUSED);
    assert_eq!(world.ask("slow:another secret of it").await, Ok(()));
}

#[tokio::test]
async fn a_caller_that_fails_repeatedly_waits_and_no_secret_is_compared() {
    let world = World::new().await;
    world.add_supplied("slow").await;
    let right = format!("slow:{SUPPLIED}");
    for _ in 0..5 {
        assert_eq!(world.ask("slow:wrong").await, REFUSED);
    }
    world.done();
    for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
        let delayed = Err(TokenError::TooManyFailures {
            retry_after: expected,
        });
        assert_eq!(world.ask("slow:wrong").await, delayed);
        // Not even the right one, or the delay would tell which that is.
        assert_eq!(world.ask(&right).await, delayed);
        assert!(
            !world
                .done()
                .iter()
                .any(|done| matches!(done, Compare | Argon2)),
            "nothing is compared"
        );
        // Neither other addresses nor other clients are concerned.
        assert_eq!(world.ask_from("slow:wrong", "192.0.2.77").await, REFUSED);
        assert_eq!(world.ask("configured:c0nfigured").await, Ok(()));
        world.forward(expected.into());
        assert_eq!(world.ask_from(&right, "192.0.2.77").await, Ok(()));
        assert_eq!(world.ask("slow:wrong").await, REFUSED);
        world.done();
        world.issuer.client_auth.secrets.forget_proven();
    }
    world.forward(60);
    assert_eq!(world.ask(&right).await, Ok(()));
    for _ in 0..5 {
        assert_eq!(
            world.ask("slow:wrong").await,
            REFUSED,
            "the success has ended the row"
        );
    }
    // A proven secret is never delayed, and resets no count.
    assert_eq!(world.ask(&right).await, Ok(()));
    assert_eq!(
        world.ask("slow:wrong").await,
        Err(TokenError::TooManyFailures { retry_after: 1 })
    );
    world.forward(15 * 60);
    assert_eq!(
        world.ask("slow:wrong").await,
        REFUSED,
        "forgotten after a quarter of an hour"
    );
}

/// One that a file or a person supplied, however long, is one that can be guessed.
#[tokio::test]
async fn a_secret_that_was_right_elsewhere_is_no_easier_to_guess() {
    const LONG: &str = "Backend-Password-of-Production-004242";
    let world = World::with(vec![
        client("short", "Backend-Pass-004242"),
        client("long", LONG),
    ])
    .await;
    world.add_supplied("slow").await;
    for (number, (id, secret)) in [
        ("short", "Backend-Pass-004242"),
        ("long", LONG),
        ("slow", SUPPLIED),
    ]
    .into_iter()
    .enumerate()
    {
        let (owner, guesser) = (format!("192.0.2.{number}"), format!("198.51.100.{number}"));
        let right = format!("{id}:{secret}");
        assert_eq!(world.ask_from(&right, &owner).await, Ok(()));
        for _ in 0..5 {
            assert_eq!(
                world.ask_from(&format!("{id}:wrong"), &guesser).await,
                REFUSED
            );
        }
        let delayed = Err(TokenError::TooManyFailures { retry_after: 1 });
        for guess in ["a guess", "another guess", secret] {
            assert_eq!(
                world.ask_from(&format!("{id}:{guess}"), &guesser).await,
                delayed,
                "{id}"
            );
        }
        // Its owner authenticates from its previous network, even if others fail there.
        for _ in 0..50 {
            world
                .ask_from(&format!("{id}:wrong"), &owner)
                .await
                .unwrap_err();
            assert_eq!(world.ask_from(&right, &owner).await, Ok(()), "{id}");
        }
        // Others that keep failing there find nothing.
        for _ in 0..300 {
            world
                .ask_from(&format!("{id}:wrong"), &owner)
                .await
                .unwrap_err();
        }
        let waits = world.ask_from(&right, &owner).await;
        assert!(
            matches!(waits, Err(TokenError::TooManyFailures { .. })),
            "{id}: {waits:?}"
        );
        world.forward(60);
        assert_eq!(world.ask_from(&right, &owner).await, Ok(()), "{id}");
    }
}

#[tokio::test]
async fn an_address_that_tries_many_ids_waits_and_nothing_is_hashed_meanwhile() {
    let world = World::new().await;
    world.add_supplied("slow").await;
    let (generated, stored) = generate(UnixTime(NOW), None);
    world
        .add(
            "quick",
            json!({"grant_types": ["client_credentials"]}),
            vec![stored],
        )
        .await;
    let mut hashed = 0;
    for number in 0..60 {
        world
            .ask(&format!("unknown-{number}:wrong"))
            .await
            .unwrap_err();
        hashed += world.done().iter().filter(|done| **done == Argon2).count();
    }
    assert_eq!(hashed, 30);
    let delayed = Err(TokenError::TooManyFailures { retry_after: 1 });
    assert_eq!(
        world.ask("configured:c0nfigured").await,
        delayed,
        "it could be the next guess"
    );
    assert_eq!(
        world
            .ask(&["quick:", generated.expose_secret()].concat())
            .await,
        Ok(())
    );
    assert_eq!(
        world
            .ask_from("configured:c0nfigured", "198.51.100.1")
            .await,
        Ok(())
    );
    world.forward(1);
    assert_eq!(
        world.ask("configured:c0nfigured").await,
        Ok(()),
        "one per second is compared"
    );
    for number in 0..60 {
        world
            .ask(&format!("unknown-{number}:wrong"))
            .await
            .unwrap_err();
    }
    assert_eq!(
        world.ask("configured:c0nfigured").await,
        Ok(()),
        "it was right from there"
    );
}

#[tokio::test]
async fn a_generated_secret_passes_the_delay_with_the_line_end_of_its_file_too() {
    let generated = generate(UnixTime(NOW), None).0;
    let text = generated.expose_secret().to_owned();
    let secret = Secret {
        line_end: LineEnd::Lf,
        ..Secret::configured(generated)
    };
    let world = World::with(vec![Client {
        secrets: vec![secret],
        ..client("file", "s3cret")
    }])
    .await;
    for _ in 0..5 {
        assert_eq!(world.ask("file:wrong").await, REFUSED);
    }
    let delayed = Err(TokenError::TooManyFailures { retry_after: 1 });
    for other in [
        format!("file:{text}\n\n"),
        format!("file:{text}\r\n"),
        "file:s3cret\n".to_owned(),
    ] {
        assert_eq!(world.ask(&other).await, delayed);
    }
    for right in [format!("file:{text}\n"), format!("file:{text}")] {
        assert_eq!(world.ask(&right).await, Ok(()));
    }
}

#[tokio::test]
async fn concurrent_guesses_reveal_no_more_than_successive_ones() {
    let world = World::new().await;
    world.add_supplied("slow").await;
    for _ in 0..4 {
        assert_eq!(world.ask("slow:wrong").await, REFUSED);
    }
    let guesses = ["wrong-1", "wrong-2", "wrong-3", SUPPLIED].map(|secret| {
        let world = &world;
        async move { world.ask(&format!("slow:{secret}")).await }
    });
    let answers = futures_util::future::join_all(guesses).await;
    assert_eq!(answers[0], REFUSED);
    let delayed = Err(TokenError::TooManyFailures { retry_after: 1 });
    assert!(
        answers[1..].iter().all(|answer| *answer == delayed),
        "{answers:?}"
    );
}

/// A `+` is read in two ways, and neither is a way around the other's delay.
#[tokio::test]
async fn every_reading_of_an_id_has_the_delay_of_the_client() {
    let world = World::with(vec![client("svc+a", "s3cret")]).await;
    for _ in 0..5 {
        assert_eq!(world.ask("svc+a:wrong").await, REFUSED);
    }
    let delayed = Err(TokenError::TooManyFailures { retry_after: 1 });
    for spelling in ["svc+a:s3cret", "svc%2Ba:s3cret", "s%76c%2Ba:s3cret"] {
        assert_eq!(world.ask(spelling).await, delayed, "{spelling}");
    }
}

#[tokio::test]
async fn when_a_secret_was_last_used_is_written_at_most_once_a_minute() {
    let world = World::new().await;
    let (secret, stored) = generate(UnixTime(NOW), None);
    world
        .add(
            "quick",
            json!({"grant_types": ["client_credentials"]}),
            vec![stored],
        )
        .await;
    let last_used =
        async || world.store.client("quick").await.unwrap().unwrap().secrets[0].last_used_at;
    let right = ["quick:", secret.expose_secret()].concat();
    world.ask(&right).await.unwrap();
    assert_eq!(last_used().await, None);
    world.issuer.reload().await.unwrap();
    assert_eq!(last_used().await, Some(UnixTime(NOW)));
    world.forward(30);
    world.ask(&right).await.unwrap();
    world.issuer.reload().await.unwrap();
    assert_eq!(last_used().await, Some(UnixTime(NOW)));
    world.forward(30);
    world.issuer.reload().await.unwrap();
    assert_eq!(last_used().await, Some(UnixTime(NOW + 30)));
    let before = world.store.revisions().await.unwrap();
    world.forward(60);
    world.ask("quick:wrong").await.unwrap_err();
    world.issuer.reload().await.unwrap();
    assert_eq!(
        last_used().await,
        Some(UnixTime(NOW + 30)),
        "a failure is no use"
    );
    assert_eq!(world.store.revisions().await.unwrap(), before);
}

#[tokio::test]
async fn a_secret_that_another_process_withdraws_lets_in_for_a_second_at_most() {
    let world = World::new().await;
    let (old, stored) = generate(UnixTime(NOW), None);
    world
        .add(
            "quick",
            json!({"grant_types": ["client_credentials"]}),
            vec![stored],
        )
        .await;
    let right = ["quick:", old.expose_secret()].concat();
    assert_eq!(world.ask(&right).await, Ok(()));
    let client = world.store.client("quick").await.unwrap().unwrap();
    let new = generate(UnixTime(NOW), None).1;
    assert!(
        world
            .store
            .insert_secret(&client, &new, Some(UnixTime(NOW)))
            .await
            .unwrap()
    );
    world.forward(1);
    assert_eq!(world.ask(&right).await, REFUSED);
}
