//! The table of differences: which exchanges differ from plgd's, how, and why.
//!
//! A row begins with the ids that it is about and what the difference is: `rfc` (a standard says
//! so), `safer` or `better`. There is no other word. Lines with `=` say what differs, each other
//! line is a part of the reason. An empty line ends it, `#` begins a comment.

use std::collections::BTreeMap;

/// The differences of one exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub differences: Vec<String>,
}

/// A reason has more letters than this: "RFC" is none.
const REASON: usize = 30;

/// The rows by the ids of their exchanges.
pub fn parse(text: &str) -> Result<BTreeMap<String, Row>, String> {
    let mut rows = BTreeMap::new();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for block in lines
        .split(|line| line.trim().is_empty())
        .filter(|block| !block.is_empty())
    {
        let (ids, kind) = block[0]
            .rsplit_once(": ")
            .ok_or(format!("no kind: {}", block[0]))?;
        if !["rfc", "safer", "better"].contains(&kind) {
            return Err(format!(
                "{ids}: a difference is rfc, safer or better, not `{kind}`"
            ));
        }
        let (differences, reason): (Vec<&str>, Vec<&str>) = block[1..]
            .iter()
            .map(|line| line.trim())
            .partition(|line| line.starts_with('='));
        if reason.join(" ").len() < REASON {
            return Err(format!("{ids}: no reason"));
        }
        if differences.is_empty() {
            return Err(format!("{ids}: nothing differs"));
        }
        let differences: Vec<String> = differences
            .iter()
            .map(|line| line[1..].trim().to_owned())
            .collect();
        for id in ids.split(' ') {
            let row = Row {
                differences: differences.clone(),
            };
            if rows.insert(id.to_owned(), row).is_some() {
                return Err(format!("{id}: two rows"));
            }
        }
    }
    Ok(rows)
}

#[test]
fn a_row_without_a_reason_or_of_another_kind_fails() {
    let row = |kind: &str, reason: &str| {
        parse(&format!("A1 A2: {kind}\n= status 200 -> 400\n{reason}\n"))
    };
    let reason = "RFC 6749 says that this is invalid_request.";
    let rows = row("rfc", reason).expect("a row");
    assert_eq!(rows.keys().collect::<Vec<_>>(), ["A1", "A2"]);
    assert_eq!(rows["A1"].differences, ["status 200 -> 400"]);
    assert!(row("worse", reason).unwrap_err().contains("not `worse`"));
    assert!(row("rfc", "").unwrap_err().contains("no reason"));
    assert!(row("rfc", "RFC").unwrap_err().contains("no reason"));
    assert!(
        parse(&format!("A1: rfc\n{reason}\n"))
            .unwrap_err()
            .contains("nothing differs")
    );
    assert!(
        parse(&format!("A1 A1: rfc\n= x\n{reason}\n"))
            .unwrap_err()
            .contains("two rows")
    );
}
