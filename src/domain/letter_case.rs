//! Letter case, as servers that ignore it compare texts.

use std::borrow::Cow;

/// The differences that a comparison ignores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folding {
    None,
    /// Upper and lower case of the same letter, like an ordinal comparison that ignores case
    /// (ASP.NET Core, IIS, Express).
    Simple,
    /// All characters that some server treats as the same letter: also `ſ` and `s`, the Kelvin sign
    /// and `k`, `ı`, `İ` and `i`, and `ß` and `ss`. It includes [`Folding::Simple`].
    Full,
}

impl Folding {
    /// The common form of all texts that are equal under this folding.
    #[must_use]
    pub fn of(self, text: Cow<'_, str>) -> Cow<'_, str> {
        let is_folded = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
        };
        match self {
            Self::None => text,
            _ if is_folded(&text) => text,
            Self::Simple => text.chars().map(simple).collect::<String>().into(),
            Self::Full => full(&text).into(),
        }
    }
}

fn simple(letter: char) -> char {
    if letter.is_ascii() {
        return letter.to_ascii_lowercase();
    }
    let upper = single(letter.to_uppercase()).unwrap_or(letter);
    let lower = single(upper.to_lowercase()).unwrap_or(upper);
    // Most servers do not equate letters beyond ASCII with ASCII letters.
    if lower.is_ascii() { letter } else { lower }
}

fn single(mut letters: impl Iterator<Item = char>) -> Option<char> {
    letters.next().filter(|_| letters.next().is_none())
}

/// Lower, upper and lower case in turn: each step unites letters that the others do not.
fn full(text: &str) -> String {
    let lower = |letter| match letter {
        // Its lower case is `i` with a dot above, which some servers treat as `i`.
        'İ' => 'i'.to_lowercase(),
        letter => char::to_lowercase(letter),
    };
    text.chars()
        .flat_map(lower)
        .flat_map(char::to_uppercase)
        .flat_map(lower)
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn equal(folding: Folding, one: &str, other: &str) -> bool {
        folding.of(one.into()) == folding.of(other.into())
    }

    #[test]
    fn letters_that_servers_equate_are_equal() {
        for (one, other, simple) in [
            ("admin", "ADMIN", true),
            ("Straße", "sTRAßE", true),
            ("É", "é", true),
            ("Σ", "ς", true),
            ("\u{2126}", "ω", true),
            ("ſecret", "SECRET", false),
            ("\u{212a}eys", "keys", false),
            ("adm\u{131}n", "admin", false),
            ("ADM\u{130}N", "admin", false),
            ("straße", "STRASSE", false),
            ("\u{1e9e}", "ss", false),
            ("o\u{fb03}ce", "OFFICE", false),
        ] {
            assert_eq!(equal(Folding::Simple, one, other), simple, "{one} {other}");
            assert!(equal(Folding::Full, one, other), "{one} {other}");
            assert!(!equal(Folding::None, one, other), "{one} {other}");
        }
        for (one, other) in [("a", "b"), ("e", "é"), ("a-b", "a_b"), ("a", "ａ")] {
            assert!(!equal(Folding::Full, one, other), "{one} {other}");
        }
    }

    #[test]
    fn every_character_equals_its_own_upper_and_lower_case() {
        for letter in (0..=0x0010_ffff_u32).filter_map(char::from_u32) {
            let own = letter.to_string();
            for other in [
                letter.to_uppercase().collect::<String>(),
                letter.to_lowercase().collect(),
            ] {
                // Only this letter becomes two characters in lower case.
                assert!(
                    letter == 'İ' || equal(Folding::Full, &own, &other),
                    "{own} {other}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn the_full_folding_includes_the_simple_one(text in "\\PC{0,12}") {
            for folding in [Folding::Simple, Folding::Full] {
                let folded = folding.of(text.as_str().into()).into_owned();
                prop_assert_eq!(folding.of(folded.as_str().into()), folded.as_str(), "folding \
                    twice changes nothing");
            }
            let simple = Folding::Simple.of(text.as_str().into()).into_owned();
            prop_assert!(equal(Folding::Full, &simple, &text));
        }
    }
}
