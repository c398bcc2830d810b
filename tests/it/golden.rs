//! Compares generated files with the output of the code.
//! `make docs` generates them again (`BLESS=1`); the diff then shows the changes.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use m2m_sidecar::for_tests::domain::error_form::ErrorForm;
use m2m_sidecar::for_tests::domain::reason::Reason;
use m2m_sidecar::for_tests::proxy::answer;

use crate::commands::{run, text};
use crate::reference::{configuration, reasons};
use crate::support::client::{RawAnswer, get, post_form, request};
use crate::support::sidecar::Sidecar;

/// Compares a text with a committed file, or writes the file.
pub fn assert_golden(file: &str, actual: &str) {
    let actual = format!("{}\n", actual.trim_end());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("BLESS").is_some_and(|bless| bless == "1") {
        std::fs::write(path, actual).expect("a writable repository");
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    let differ = expected
        .lines()
        .zip(actual.lines())
        .enumerate()
        .find(|(_, (old, new))| old != new);
    let line = differ.map_or(
        expected.lines().count().min(actual.lines().count()),
        |(line, _)| line,
    );
    assert!(
        expected == actual,
        "{file}:{}: differs from the code; `make docs` generates it\n- {}\n+ {}",
        line + 1,
        expected.lines().nth(line).unwrap_or_default(),
        actual.lines().nth(line).unwrap_or_default(),
    );
}

#[test]
fn the_configuration_reference() {
    assert_golden("docs/configuration.md", &configuration::page());
}

#[test]
fn the_schema_for_editors() {
    assert_golden(
        "docs/m2m-sidecar.schema.json",
        &text(&run(&["schema"]).stdout),
    );
}

#[test]
fn the_reason_codes() {
    assert_golden("docs/reason-codes.md", &reasons::page());
}

#[test]
fn the_description_of_the_management_api() {
    assert_golden(
        "docs/openapi.json",
        &m2m_sidecar::for_tests::endpoints::admin::openapi_document(),
    );
}

/// The commands that a help text lists.
fn commands_in(help: &str) -> Vec<&str> {
    let lines = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect()
}

#[test]
fn the_help_of_every_command() {
    let help = |arguments: &[&str]| text(&run(&[arguments, &["--help"]].concat()).stdout);
    let all = help(&[]);
    let mut page = format!(
        "{}\n## `m2m-sidecar --help`\n\n```text\n{}```\n",
        include_str!("reference/commands.md"),
        all
    );
    let commands = commands_in(&all);
    assert!(
        commands.contains(&"run") && commands.contains(&"man"),
        "{commands:?}"
    );
    for command in commands {
        let own = help(&[command]);
        write!(page, "\n## `m2m-sidecar {command}`\n\n```text\n{own}```\n").expect("a text");
        for below in commands_in(&own) {
            let own = help(&[command, below]);
            write!(
                page,
                "\n### `m2m-sidecar {command} {below}`\n\n```text\n{own}```\n"
            )
            .expect("a text");
        }
    }
    assert_golden("docs/commands.md", &page);
}

/// Every answer that a proxy listener writes itself.
#[test]
fn the_answers_of_the_proxy() {
    let mut all = String::new();
    for reason in Reason::ALL
        .iter()
        .copied()
        .filter(|reason| answer::table(*reason).is_some())
    {
        write!(
            all,
            "== {}\n{}\n\n",
            reason.code(),
            text(&answer::on_the_wire(&reason.into(), ErrorForm::OAuth)).replace('\r', "")
        )
        .expect("a text");
    }
    assert_golden("tests/it/golden/answers.txt", &all);
}

fn shown(answer: &RawAnswer) -> String {
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .filter(|(name, _)| name != "date" && name != "content-length")
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect();
    headers.sort();
    format!(
        "{}\n{}\n{}\n\n",
        answer.status,
        headers.concat(),
        answer.text()
    )
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_of_the_issuer() {
    let yaml = "stateDir: \"@DIR@\"\nstore: { url: \"sqlite::memory:\" }\nissuer:\n  url: \
        http://issuer.test/m2m\n  listen: 127.0.0.1:0\n  clients: [{ id: legacy, secretFile: \
        \"@DIR@/legacy\", allowedAudiences: [\"https://a\"], allowedScopes: [read] }]\n";
    let secret = "a-secret-of-the-golden-files";
    let sidecar = Sidecar::builder()
        .secret_file("legacy", "legacy", secret)
        .start(yaml)
        .await;
    let address = sidecar.address("issuer");
    let grant = ("grant_type", "client_credentials");
    let basic = |secret: &str| format!("Basic {}", STANDARD.encode(format!("legacy:{secret}")));
    let (right, wrong) = (basic(secret), basic("wrong"));
    let (right, wrong) = (
        [("Authorization", right.as_str())],
        [("Authorization", wrong.as_str())],
    );
    let id = ("client_id", "legacy");
    let mut all = String::new();
    for path in [
        "/.well-known/oauth-authorization-server/m2m",
        "/m2m/.well-known/openid-configuration",
    ] {
        let answer = get(address, path, &[]).await;
        let pretty = serde_json::to_string_pretty(&answer.json()).expect("JSON");
        write!(
            all,
            "== GET {path}\n{}{pretty}\n\n",
            shown(&answer)
                .replace(&answer.text(), "")
                .trim_end()
                .to_owned()
                + "\n\n"
        )
        .expect("a text");
    }
    let form: &[(&str, Pairs<'_>, Pairs<'_>)] = &[
        ("no client", &[grant], &[]),
        ("a wrong secret, Basic", &[grant], &wrong),
        (
            "a wrong secret, form",
            &[grant, id, ("client_secret", "wrong")],
            &[],
        ),
        (
            "an unknown client",
            &[grant, ("client_id", "unknown"), ("client_secret", "wrong")],
            &[],
        ),
        (
            "two methods",
            &[grant, id, ("client_secret", "wrong")],
            &right,
        ),
        ("no grant type", &[("scope", "read")], &right),
        (
            "an unknown grant type",
            &[("grant_type", "password")],
            &right,
        ),
        ("a parameter twice", &[grant, grant], &right),
        ("a scope not allowed", &[grant, ("scope", "write")], &right),
        (
            "an audience not allowed",
            &[grant, ("audience", "https://b")],
            &right,
        ),
    ];
    for (what, fields, headers) in form {
        write!(
            all,
            "== {what}\n{}",
            shown(&post_form(address, "/m2m/oauth/token", fields, headers).await)
        )
        .expect("a text");
    }
    let large = vec![b'x'; 65 * 1024];
    let answer = request("POST", address, "/m2m/oauth/token", &[], &large).await;
    write!(all, "== a body too large\n{}", shown(&answer)).expect("a text");
    write!(
        all,
        "== GET\n{}",
        shown(&get(address, "/m2m/oauth/token", &[]).await)
    )
    .expect("a text");
    write!(
        all,
        "== an unknown path\n{}",
        shown(&get(address, "/m2m/nothing", &[]).await)
    )
    .expect("a text");
    assert_golden("tests/it/golden/issuer.txt", &all);
}
