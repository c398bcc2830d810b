//! `client …` as a shell sees it.

use std::process::Stdio;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ADMIN_TOKEN, World};
use crate::commands::{ended, run, sidecar};
use crate::support::logs;

/// A configuration that names the management API of a running sidecar, and nothing else of it.
fn config(dir: &TempDir, world: &World) -> String {
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("admin"), format!("{ADMIN_TOKEN}\n")).expect("a file");
    let yaml = format!(
        "stateDir: \"{}\"\nadmin: {{ listen: {}, tokenFile: \"{}\" }}\n\
        issuer: {{ url: http://issuer.test, listen: 127.0.0.1:0 }}\n",
        path("state"),
        world.admin(),
        path("admin")
    );
    std::fs::write(path("config.yaml"), yaml).expect("a file");
    path("config.yaml")
}

fn done(arguments: &[&str]) -> String {
    let (code, out, err) = ended(&run(arguments));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}");
    out.trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_managed_from_a_shell() {
    let (world, dir) = (World::start().await, TempDir::new().expect("a directory"));
    let config = config(&dir, &world);
    let client =
        |arguments: &[&str]| done(&[&["client"], arguments, &["--config", &config]].concat());
    let secret = client(&[
        "create",
        "--id",
        "meter",
        "--scope",
        "a b",
        "--audience",
        "https://x",
        "--lifetime",
        "15m",
        "--claim",
        "tenant=blue",
        "--claim",
        "level=3",
        "--secret-only",
    ]);
    logs::remember_client_secret("meter", &secret);
    let token = world.token("meter", &secret).await;
    assert_eq!(
        (token.status, &token.json()["expires_in"]),
        (200, &900.into()),
        "the secret and nothing else"
    );

    let shown: Value = serde_json::from_str(&client(&["show", "meter", "--json"])).expect("JSON");
    assert_eq!(
        (&shown["scope"], &shown["claims"]["level"]),
        (&"a b".into(), &3.into())
    );
    let list = client(&["list"]);
    assert!(
        list.starts_with("CLIENT ID")
            && list.contains("\nmeter ")
            && list.contains("configuration"),
        "{list}"
    );
    let updated = client(&[
        "update",
        "meter",
        "--scope",
        "c",
        "--unset",
        "access_token_lifetime",
    ]);
    assert!(
        updated.contains("scope") && !updated.contains("access_token_lifetime"),
        "{updated}"
    );
    assert_eq!(world.token("meter", &secret).await.json()["scope"], "c");

    let second = client(&["rotate-secret", "meter", "--grace", "1h", "--secret-only"]);
    logs::remember_client_secret("meter", &second);
    assert_eq!(world.token("meter", &secret).await.status, 200);
    assert_eq!(world.token("meter", &second).await.status, 200);
    let secrets = client(&["secrets", "meter"]);
    assert_eq!(secrets.lines().count(), 3, "{secrets}");
    assert!(
        secrets
            .lines()
            .next()
            .is_some_and(|head| head.ends_with("SAFE TO DELETE")),
        "{secrets}"
    );
    assert!(
        secrets.lines().skip(1).all(|line| line.ends_with("no")),
        "both are young: {secrets}"
    );
    let secrets: Value =
        serde_json::from_str(&client(&["secrets", "meter", "--json"])).expect("JSON");
    let first_id = secrets["secrets"][0]["id"].as_str().expect("an id");
    let live = world.good_token("meter", &second).await;
    client(&["disable", "meter"]);
    assert_eq!(world.check_token(&live).await.0, 401);
    client(&["enable", "meter"]);
    let live = world.good_token("meter", &second).await;
    client(&["revoke", "meter", "--before", "2020-01-01T00:00:00Z"]);
    assert_eq!(world.check_token(&live).await.0, 200);
    client(&["revoke", "meter"]);
    assert_eq!(world.check_token(&live).await.0, 401);
    let deleted: Value =
        serde_json::from_str(&client(&["delete-secret", "meter", first_id, "--json"]))
            .expect("JSON");
    assert_eq!(
        (&deleted["deleted"], &deleted["id"]),
        (&json!(true), &json!(first_id))
    );
    assert_eq!(client(&["delete", "meter"]), "");
    assert_eq!(world.token("meter", &second).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_is_one_line_with_its_exit_code() {
    let (world, dir) = (World::start().await, TempDir::new().expect("a directory"));
    let config = config(&dir, &world);
    let admin = format!("http://{}", world.admin());
    let wrong = dir.path().join("wrong").display().to_string();
    std::fs::write(&wrong, "another-token-than-that").expect("a file");
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("bound");
    let closed = format!("http://{free}");
    for (arguments, code, said) in [
        (
            &["client", "show", "unknown", "--config", &config][..],
            1,
            "no such client",
        ),
        (
            &[
                "client",
                "create",
                "--id",
                "configured",
                "--config",
                &config,
            ],
            1,
            "already",
        ),
        (
            &["client", "delete", "configured", "--config", &config],
            1,
            "configuration",
        ),
        (
            &[
                "client",
                "create",
                "--lifetime",
                "soon",
                "--config",
                &config,
            ],
            1,
            "access_token_lifetime",
        ),
        (
            &["client", "list", "--admin", &admin, "--token-file", &wrong],
            1,
            "admin token",
        ),
        (
            &["client", "list", "--admin", &closed, "--token-file", &wrong],
            1,
            "nothing listens",
        ),
        (&["client", "list", "--admin", &admin], 2, "admin token"),
        (
            &[
                "client",
                "list",
                "--admin",
                "ftp://x",
                "--token-file",
                &wrong,
            ],
            2,
            "--admin",
        ),
        (
            &[
                "client",
                "list",
                "--admin",
                "http://u:pw@x",
                "--token-file",
                &wrong,
            ],
            2,
            "--admin",
        ),
        (
            &[
                "client", "update", "x", "--owner", "1", "--unset", "owner", "--config", &config,
            ],
            2,
            "`owner`",
        ),
        (
            &[
                "client",
                "update",
                "configured",
                "--unset",
                "ownr",
                "--config",
                &config,
            ],
            1,
            "configuration",
        ),
        (&["client", "list"], 2, "--config"),
        (&["client"], 2, "Usage"),
        (
            &["client", "update", "x", "--config", &config],
            2,
            "nothing to change",
        ),
        (
            &["client", "create", "--claim", "x", "--config", &config],
            2,
            "NAME=VALUE",
        ),
    ] {
        let (got, out, err) = ended(&run(arguments));
        assert_eq!(
            (got, out.as_str()),
            (Some(code), ""),
            "{arguments:?}: {err}"
        );
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
    let mut command = sidecar(&["client", "list", "--json", "--admin", &admin]);
    let output = command
        .env("M2M_SIDECAR_ADMIN_TOKEN", ADMIN_TOKEN)
        .output()
        .expect("the binary runs");
    let (code, out, err) = ended(&output);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let list: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(list["clients"][0]["client_id"], "configured");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_create_begins_with_the_secret_and_repeats_nothing() {
    let (world, dir) = (World::start().await, TempDir::new().expect("a directory"));
    let config = config(&dir, &world);
    let created = |arguments: &[&str]| {
        done(&[&["client", "create"], arguments, &["--config", &config]].concat())
    };
    let shown = created(&[
        "--id",
        "meter",
        "--scope",
        "a,b",
        "--scope",
        "c d",
        "--allow-introspection",
    ]);
    let line = |number: usize| {
        shown
            .lines()
            .nth(number)
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    let ["client_secret", secret] = line(0)[..] else {
        panic!("{shown}")
    };
    logs::remember_client_secret("meter", secret);
    assert_eq!(line(1), ["client_id", "meter"]);
    assert_eq!(shown.matches(secret).count(), 1);
    for gone in ["scopes", "client_id_issued_at", "client_secret_expires_at"] {
        assert!(!shown.contains(gone), "{shown}");
    }
    let client = world.get("/clients/meter").await.json();
    assert_eq!(
        (&client["scopes"], &client["allow_introspection"]),
        (&json!(["a", "b", "c", "d"]), &json!(true))
    );
    let lists = [
        "--audience",
        "https://x,https://y",
        "--grant-type",
        "client_credentials,refresh_token",
    ];
    let more = ["--id", "gauge", "--lifetime", "3600", "--json"];
    let client: Value =
        serde_json::from_str(&created(&[&lists[..], &more].concat())).expect("JSON");
    logs::remember_client_secret("gauge", client["client_secret"].as_str().expect("a secret"));
    assert_eq!(client["audience"], json!(["https://x", "https://y"]));
    assert_eq!(
        client["grant_types"],
        json!(["client_credentials", "refresh_token"])
    );
    assert_eq!(client["access_token_lifetime"], 3600);
    let rotated = done(&[
        "client",
        "rotate-secret",
        "meter",
        "--grace",
        "3600",
        "--config",
        &config,
    ]);
    logs::remember_client_secret(
        "meter",
        rotated.split_whitespace().nth(1).expect("a secret"),
    );
    assert!(rotated.starts_with("client_secret"), "{rotated}");
    let updated = done(&[
        "client",
        "update",
        "meter",
        "--allow-introspection=false",
        "--config",
        &config,
    ]);
    assert!(
        updated
            .lines()
            .any(|line| line.split_whitespace().eq(["allow_introspection", "false"])),
        "{updated}"
    );
}

/// The client exists, so the command has succeeded; and the secret is gone for good.
#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn a_secret_that_could_not_be_written_is_no_failure_and_how_to_rotate_it_is_said() {
    let (world, dir) = (World::start().await, TempDir::new().expect("a directory"));
    let config = config(&dir, &world);
    let closed = || {
        // A pipe whose reader is gone.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        Stdio::from(writer)
    };
    let file = |path: &str| {
        std::fs::OpenOptions::new()
            .write(true)
            .open(path)
            .expect("a device")
    };
    for (number, (stdout, code)) in [
        (closed(), 0),
        (file("/dev/null").into(), 0),
        (file("/dev/full").into(), 1),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("a client{number}");
        let mut command = sidecar(&[
            "client",
            "create",
            "--id",
            &id,
            "--secret-only",
            "--config",
            &config,
        ]);
        let (got, _, err) = ended(&command.stdout(stdout).output().expect("it runs"));
        assert_eq!(got, Some(code), "{err}");
        let how = format!("m2m-sidecar client rotate-secret '{id}' --grace 0");
        assert!(err.contains(&how), "{err}");
        assert_eq!(
            world
                .get(&format!("/client?client_id=a%20client{number}"))
                .await
                .status,
            200
        );
        let secret = done(&[
            "client",
            "rotate-secret",
            &id,
            "--grace",
            "0",
            "--secret-only",
            "--config",
            &config,
        ]);
        logs::remember_client_secret(&id, &secret);
        world.good_token(&id.replace(' ', "%20"), &secret).await;
    }
    let mut command = sidecar(&["client", "rotate-secret", "a client0", "--config", &config]);
    let (got, _, err) = ended(&command.stdout(closed()).output().expect("it runs"));
    assert_eq!(got, Some(0), "{err}");
    assert!(err.contains("could not be shown"), "{err}");
    // A supplied secret is not lost.
    let supplied = dir.path().join("supplied").display().to_string();
    std::fs::write(&supplied, "a-secret-that-was-supplied").expect("a file");
    logs::remember_client_secret("supplied", "a-secret-that-was-supplied");
    let arguments = [
        "client",
        "create",
        "--id",
        "supplied",
        "--secret-file",
        &supplied,
        "--config",
        &config,
    ];
    let (got, _, err) = ended(
        &sidecar(&arguments)
            .stdout(closed())
            .output()
            .expect("it runs"),
    );
    assert_eq!((got, err.as_str()), (Some(0), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_tokens_and_the_status_have_commands() {
    let (world, dir) = (World::start().await, TempDir::new().expect("a directory"));
    let config = config(&dir, &world);
    let said = |arguments: &[&str]| done(&[arguments, &["--config", &config]].concat());
    let parsed = |arguments: &[&str]| -> Value {
        serde_json::from_str(&said(&[arguments, &["--json"]].concat())).expect("JSON")
    };
    assert!(said(&["keys", "list"]).starts_with("KID"), "a table");
    let before = parsed(&["keys", "list"])["keys"].as_array().map(Vec::len);
    let rotated = parsed(&["keys", "rotate"]);
    assert_eq!(
        rotated["keys"].as_array().map(Vec::len),
        before.map(|keys| keys + 1)
    );
    assert!(rotated.to_string().contains("\"next\""), "{rotated}");
    let now = parsed(&["keys", "rotate", "--now"]);
    assert_ne!(
        now["keys"][0]["kid"], rotated["keys"][0]["kid"],
        "another one signs"
    );

    let status = said(&["status"]);
    assert!(
        status.contains("listeners\nNAME") && status.contains("admin"),
        "{status}"
    );
    assert_eq!(parsed(&["status"])["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_token_is_listed_and_revoked() {
    let (world, dir) = (World::start().await, TempDir::new().expect("a directory"));
    let config = config(&dir, &world);
    let secret = world.create(super::meter()).await;
    let named = async |name: &str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "meter"),
            ("client_secret", secret.as_str()),
            ("token_name", name),
        ];
        let address = world.sidecar.address("issuer");
        let answer = crate::support::client::post_form(address, "/oauth/token", &form, &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let token = answer.json()["access_token"]
            .as_str()
            .expect("a token")
            .to_owned();
        logs::remember_secret(&token);
        token
    };
    let (first, second) = (named("first").await, named("second").await);
    let list = |arguments: &[&str]| -> Value {
        let all = [&["token", "list", "--json", "--config", &config], arguments].concat();
        serde_json::from_str(&done(&all)).expect("JSON")
    };
    let of = |list: &Value, name: &str| {
        let tokens = list["tokens"].as_array().expect("a list");
        tokens
            .iter()
            .find(|token| token["name"] == name)
            .map(|token| token["jti"].as_str().expect("an id").to_owned())
    };
    let kept = list(&["--client", "meter"]);
    let jti = of(&kept, "first").expect("kept");
    assert_eq!(done(&["token", "revoke", &jti, "--config", &config]), "");
    assert_eq!(world.check_token(&first).await.0, 401);
    assert_eq!(world.check_token(&second).await.0, 200);
    assert_eq!(of(&list(&[]), "first"), None, "only those that are good");
    assert!(of(&list(&["--all"]), "first").is_some());
    let file = dir.path().join("token").display().to_string();
    std::fs::write(&file, &second).expect("a file");
    let revoked: Value = serde_json::from_str(&done(&[
        "token", "revoke", "--file", &file, "--json", "--config", &config,
    ]))
    .expect("JSON");
    assert_eq!(
        (&revoked["revoked"], of(&kept, "second").as_deref()),
        (&json!(true), revoked["jti"].as_str())
    );
    assert_eq!(world.check_token(&second).await.0, 401);
    let table = done(&["token", "list", "--all", "--config", &config]);
    assert!(
        table.starts_with("JTI") && table.contains("first"),
        "{table}"
    );
    for (arguments, code, said) in [
        (
            &["token", "revoke", "none", "--config", &config][..],
            1,
            "no token of this id is kept",
        ),
        (&["token", "revoke", "--config", &config], 2, "required"),
        (
            &["token", "list", "--decode", "--config", &config],
            2,
            "--decode",
        ),
        (&["token", "--config", &config], 2, "--credential"),
        (&["token"], 2, "--config"),
    ] {
        let (got, out, err) = ended(&run(arguments));
        assert_eq!(
            (got, out.as_str()),
            (Some(code), ""),
            "{arguments:?}: {err}"
        );
        assert!(err.contains(said), "{arguments:?}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_the_management_api_is_a_line() {
    let world = World::start().await;
    world.create(super::meter()).await;
    for target in [
        "/clients",
        "/clients/meter",
        "/clients/none",
        "/keys",
        "/status",
        "/openapi.json",
        "/none",
        "/tokens",
    ] {
        let text = world.get(target).await.text();
        assert!(
            text.ends_with('\n') && !text.ends_with("\n\n"),
            "{target}: {text:?}"
        );
    }
    for (method, target) in [
        ("POST", "/clients"),
        ("POST", "/clients/meter/revoke"),
        ("PUT", "/clients"),
    ] {
        let text = world
            .call(method, target, json!({ "colour": "red" }))
            .await
            .text();
        assert!(text.ends_with("}\n"), "{target}: {text:?}");
    }
    let issuer = world.sidecar.address("issuer");
    for target in [
        "/.well-known/jwks.json",
        "/.well-known/openid-configuration",
        "/oauth/token",
        "/none",
    ] {
        let text = crate::support::client::get(issuer, target, &[])
            .await
            .text();
        assert!(text.ends_with("}\n"), "{target}: {text:?}");
    }
    let token = world.token("meter", "wrong").await.text();
    assert!(token.ends_with("}\n"), "{token:?}");
    let refused = crate::support::client::get(world.sidecar.address("api"), "/", &[])
        .await
        .text();
    assert!(refused.ends_with("}\n"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_secret_means_the_same_to_every_command() {
    let (world, dir) = (World::start().await, TempDir::new().expect("a directory"));
    let config = config(&dir, &world);
    let file = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path.display().to_string()
    };
    let secret = "a-secret-that-came-from-a-file";
    for (id, end) in [("bare", ""), ("lf", "\n"), ("crlf", "\r\n")] {
        let secret_file = file("secret", format!("{secret}{end}").as_bytes());
        let token_file = file("token", format!("{ADMIN_TOKEN}{end}").as_bytes());
        let admin = format!("http://{}", world.admin());
        logs::remember_client_secret(id, secret);
        done(&[
            "client",
            "create",
            "--id",
            id,
            "--secret-file",
            &secret_file,
            "--admin",
            &admin,
            "--token-file",
            &token_file,
        ]);
        assert_eq!(world.token(id, secret).await.status, 200, "{id}");
    }
    for (content, words) in [
        (
            &b"\xef\xbb\xbfa-secret-that-came-from-a-file\n"[..],
            "begins with a byte order mark",
        ),
        (
            b"\xff\xfea\0-\0s\0e\0c\0r\0e\0t\0-\0t\0h\0a\0t\0",
            "is UTF-16 text",
        ),
        (
            b"a-secret-that-came\n-from-a-file\n",
            "has more than one line",
        ),
        (
            b"a-secret-that-came-from-a-file\n\n",
            "has more than one line",
        ),
        (b"a-secret-that-came\0-from-a-file\n", "has a NUL character"),
        (b"\n", "is empty"),
    ] {
        let bad = file("bad", content);
        for arguments in [
            &[
                "client",
                "create",
                "--config",
                &config,
                "--secret-file",
                &bad,
            ][..],
            &[
                "client",
                "rotate-secret",
                "lf",
                "--config",
                &config,
                "--secret-file",
                &bad,
            ],
            &["client", "list", "--config", &config, "--token-file", &bad],
        ] {
            let (code, out, err) = ended(&run(arguments));
            assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?} {err}");
            assert!(err.contains(&bad) && err.contains(words), "{words}: {err}");
        }
        let yaml = format!(
            "admin: {{ listen: 127.0.0.1:0, tokenFile: \"{bad}\" }}\n\
            issuer: {{ url: http://issuer.test, listen: 127.0.0.1:0, clients: [{{ id: a, \
            secretFile: \"{bad}\" }}] }}\n\
            credentials: {{ b: {{ tokenUrl: \"http://127.0.0.1:1/\", clientID: a, \
            clientSecretFile: \"{bad}\" }} }}\n"
        );
        let (code, _, err) = ended(&run(&[
            "check",
            "--config",
            &file("bad.yaml", yaml.as_bytes()),
        ]));
        assert_eq!(
            (code, err.matches(words).count()),
            (Some(1), 3),
            "{words}: {err}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_reads_of_a_configuration_only_where_the_management_api_is() {
    let (world, dir) = (World::start().await, TempDir::new().expect("a directory"));
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("admin"), format!("{ADMIN_TOKEN}\r\n")).expect("a file");
    // Secrets that this user cannot read, a variable that is not set here, a key of a later
    // version.
    let others = format!(
        "store: {{ url: \"sqlite:{0}/m2m.db\", encryptionKeyFile: \"{0}/none\" }}\n\
        issuer: {{ url: \"http://${{NOT_SET}}\", clients: [{{ id: a, \
        secretFile: \"{0}/none\" }}] }}\n\
        authorities: {{ a: {{ issuer: \"http://x\", caFile: \"{0}/none\" }} }}\n\
        credentials: {{ b: {{ tokenUrl: \"http://x\", clientID: a, \
        clientSecretFile: \"{0}/none\" }} }}\nlaterKey: 1\n",
        dir.path().display()
    );
    let write = |name: &str, admin: &str| {
        std::fs::write(
            path(name),
            format!("stateDir: \"{}\"\n{admin}\n{others}", path("state")),
        )
        .expect("a file");
        path(name)
    };
    let whole = write(
        "whole.yaml",
        &format!(
            "admin: {{ listen: {}, tokenFile: \"{}\" }}",
            world.admin(),
            path("admin")
        ),
    );
    assert!(done(&["client", "list", "--config", &whole]).contains("configured"));
    // The token is given: that of the configuration need not be readable.
    let secret = write(
        "secret.yaml",
        &format!(
            "admin: {{ listen: {}, tokenFile: \"{}\" }}",
            world.admin(),
            path("none")
        ),
    );
    assert!(
        done(&[
            "client",
            "list",
            "--config",
            &secret,
            "--token-file",
            &path("admin")
        ])
        .contains("configured")
    );
    let (code, _, err) = ended(&run(&["client", "list", "--config", &secret]));
    assert!(code == Some(2) && err.contains(&path("none")), "{err}");
    let none = write("none.yaml", "");
    let (code, _, err) = ended(&run(&["client", "list", "--config", &none]));
    assert!(code == Some(1) && err.contains("`admin.listen`"), "{err}");
    let wrong = write("wrong.yaml", "admin: { listen: nowhere }");
    let (code, _, err) = ended(&run(&["client", "list", "--config", &wrong]));
    assert!(
        code == Some(1) && err.contains("wrong.yaml:2") && err.contains("admin.listen"),
        "{err}"
    );
    assert!(
        !err.contains("laterKey") && !err.contains("NOT_SET"),
        "{err}"
    );
}
