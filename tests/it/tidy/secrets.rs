//! No macro that makes text exposes a secret.

use super::source::{Token, blank, closing, test_modules, tokens};
use super::{Hit, ratchet, sources};

/// Macros whose result may be printed.
const TEXT_MACROS: &str = "format print println eprint eprintln write writeln panic anyhow bail \
    ensure dbg todo unreachable trace debug info warn error event span trace_span debug_span \
    info_span warn_span error_span log";

fn exposed(text: &str) -> Vec<(usize, String)> {
    let blanked = blank(text);
    let tokens = tokens(&blanked);
    let tests = test_modules(&tokens);
    let mut found = Vec::new();
    for (at, three) in tokens.windows(3).enumerate() {
        let is_macro = TEXT_MACROS.split(' ').any(|it| it == three[0].text)
            && three[1].text == "!"
            && matches!(three[2].text, "(" | "[" | "{")
            && !tests.iter().any(|range| range.contains(&at));
        if is_macro {
            let inside = &tokens[at + 2..=closing(&tokens, at + 2)];
            let is_exposed = |token: &&Token<'_>| token.text == "expose_secret";
            found.extend(inside.iter().find(is_exposed).map(|token| {
                let what = format!("a secret is exposed inside `{}!`", three[0].text);
                (token.line, what)
            }));
        }
    }
    found
}

#[test]
fn no_text_macro_exposes_a_secret() {
    let mut hits = Vec::new();
    for file in sources() {
        hits.extend(exposed(&file.text).into_iter().map(|(line, what)| Hit {
            path: format!("src/{}", file.path),
            line,
            what,
        }));
    }
    ratchet("secrets", &hits, &[]);
}

#[test]
fn exposed_secrets_are_found_outside_tests_and_literals() {
    for (code, hits) in [
        ("fn a() { format!(\"{}\", s.expose_secret()) }", 1),
        (
            "fn a() { tracing::info!(\n    token = s.expose_secret(),\n    \"x\"\n) }",
            1,
        ),
        ("fn a() { println!(\"{}\", b(c[s.expose_secret()])) }", 1),
        (
            "fn a() { return Err(anyhow!(\"{}\", s.expose_secret())) }",
            1,
        ),
        ("fn a() { info!(\"x\"); s.expose_secret() }", 0),
        ("fn a() { if x != y { s.expose_secret() } }", 0),
        (
            "#[cfg(test)]\nmod tests { fn a() { format!(\"{}\", s.expose_secret()) } }",
            0,
        ),
        ("fn a() { info!(\"s.expose_secret()\") }", 0),
    ] {
        assert_eq!(exposed(code).len(), hits, "{code}");
    }
}
