//! Generates `docs/reason-codes.md` from `domain::reason` and the table of `proxy::answer`.

use m2m_sidecar::for_tests::domain::reason::Reason;
use m2m_sidecar::for_tests::proxy::answer::{Challenge, table};

use super::cell;

/// The text of the page.
pub fn page() -> String {
    let answered = |reason: &&Reason| table(**reason).is_some();
    let mut page = include_str!("reasons.md").to_owned();
    page.push_str(
        "\n## Answers\n\n| code | HTTP | `error` | `WWW-Authenticate` | meaning |\n\
         |---|---|---|---|---|\n",
    );
    for reason in Reason::ALL.iter().filter(answered) {
        page.push_str(&row(*reason));
    }
    page.push_str(
        "\nEvery 429 and 503 has `Retry-After`.\n\n## In the log and the metrics only\n\n",
    );
    page.push_str(
        "The request passed, or the client had disconnected.\n\n| code | meaning |\n|---|---|\n",
    );
    for reason in Reason::ALL.iter().filter(|reason| !answered(reason)) {
        page.push_str(&format!(
            "| [`{0}`](#{0}) | {1} |\n",
            reason.code(),
            cell(reason.meaning())
        ));
    }
    page.push_str("\n## What to do\n");
    for reason in Reason::ALL {
        let code = reason.code();
        page.push_str(&format!(
            "\n### <a id=\"{code}\"></a>`{code}`\n\n{}\n\n{}\n",
            reason.meaning(),
            reason.advice()
        ));
    }
    page
}

fn row(reason: Reason) -> String {
    let Some(answer) = table(reason) else {
        return String::new();
    };
    let challenge = match answer.challenge {
        Challenge::No => "–",
        Challenge::Bare => "yes, without `error`",
        Challenge::WithError => "yes",
    };
    assert_eq!(
        answer.retry,
        matches!(answer.status, 429 | 503),
        "the page says so"
    );
    format!(
        "| [`{0}`](#{0}) | {1} | `{2}` | {challenge} | {3} |\n",
        reason.code(),
        answer.status,
        answer.error,
        cell(reason.meaning())
    )
}
