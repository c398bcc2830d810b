//! `expiration`: a time in unix seconds.

use super::TokenError;
use crate::domain::clock::UnixTime;

/// The longest text that is parsed.
const LONGEST: usize = 64;
/// The most zeros after the first digit of a 64-bit number.
const MOST_ZEROS: i32 = 18;

/// Parses a whole number of seconds; a lenient parser also accepts `1.7e9` and `1700000000.0`, with
/// spaces around it.
///
/// # Errors
/// [`TokenError::MalformedExpiration`] if it is no whole number, or exceeds 64 bits.
pub(super) fn parse(text: &str, is_lenient: bool) -> Result<UnixTime, TokenError> {
    let seconds = if is_lenient {
        whole_number(text.trim_matches(' '))
    } else {
        text.parse().ok()
    };
    seconds.map(UnixTime).ok_or(TokenError::MalformedExpiration)
}

/// A number of JSON (RFC 8259 §6), parsed without rounding; `None` if it is not whole.
fn whole_number(text: &str) -> Option<i64> {
    if text.len() > LONGEST {
        return None;
    }
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let digits = [whole, fraction].concat();
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    let places = i32::try_from(digits.len() - fraction.len())
        .ok()?
        .checked_add(exponent)?;
    let zeros = places.checked_sub(i32::try_from(significant.len()).ok()?)?;
    if !(0..=MOST_ZEROS).contains(&zeros) {
        return None;
    }
    let zeros = usize::try_from(zeros).ok()?;
    [sign, significant, &"0".repeat(zeros)]
        .concat()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_whole_number_may_be_written_with_exponent_or_fraction() {
        for (text, expected) in [
            ("1700000000", Some(1_700_000_000)),
            ("1.7e9", Some(1_700_000_000)),
            ("1.7E+9", Some(1_700_000_000)),
            ("17e8", Some(1_700_000_000)),
            ("1700000000.0", Some(1_700_000_000)),
            ("1700000000.000", Some(1_700_000_000)),
            ("17000000000e-1", Some(1_700_000_000)),
            ("1700000001.0", Some(1_700_000_001)),
            ("1.700000001e9", Some(1_700_000_001)),
            ("+1700000000", Some(1_700_000_000)),
            (" 1700000000 ", Some(1_700_000_000)),
            ("-7", Some(-7)),
            ("0", Some(0)),
            ("0.0", Some(0)),
            ("-0", Some(0)),
            ("0e400", Some(0)),
            ("007", Some(7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("9.3e18", None),
            ("1e18", Some(1_000_000_000_000_000_000)),
            ("1e19", None),
            ("1e400", None),
            ("1e2147483647", None),
            ("1e-2147483648", None),
            ("1e99999999999", None),
            ("1700000000.5", None),
            ("1.7e-9", None),
            ("17e-1", None),
            ("1700000000.", None),
            (".5e1", None),
            ("e9", None),
            ("1e", None),
            ("1e9e9", None),
            ("1.2.3", None),
            ("--1", None),
            ("+-1", None),
            ("NaN", None),
            ("Infinity", None),
            ("0x10", None),
            ("1_000", None),
            ("1 000", None),
            ("\u{661}", None),
            ("", None),
            ("-", None),
        ] {
            let read = parse(text, true).ok().map(|time| time.0);
            assert_eq!(read, expected, "{text}");
        }
        for text in ["1.7e9", "1700000000.0", " 1", "x", "99999999999999999999"] {
            assert_eq!(
                parse(text, false),
                Err(TokenError::MalformedExpiration),
                "{text}"
            );
        }
        assert_eq!(
            parse(&"1".repeat(1_000_000), true),
            Err(TokenError::MalformedExpiration)
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in r"[+-]?[0-9]{0,25}\.?[0-9]{0,25}([eE][+-]?[0-9]{0,12})?") {
            let _ = parse(&text, true);
        }

        #[test]
        fn every_whole_number_is_read_however_it_is_written(number in any::<i64>(), zeros in 0_usize..5) {
            for text in [
                number.to_string(),
                format!("{number}.{}", "0".repeat(zeros + 1)),
                format!("{number}{}e-{zeros}", "0".repeat(zeros)),
                format!("{number}e0"),
            ] {
                prop_assert_eq!(parse(&text, true), Ok(UnixTime(number)));
            }
        }
    }
}
