//! The counts beside the committed ones.

use std::fmt::Write;

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.txt");
const HEADER: &str = "\
# Instructions per request: `BLESS=yes make bench-instructions` writes this file. \
    docs/dev/benches.md says how to read it.
";
/// A rise above it gives a warning, in percent.
const LIMIT: f64 = 5.0;

#[derive(Default)]
pub struct Figures(Vec<(&'static str, u64)>);

impl Figures {
    pub fn add(&mut self, case: &'static str, instructions: u64) {
        self.0.push((case, instructions));
    }

    /// Prints a table, and a warning for each case that costs more than before.
    pub fn report(&self) {
        let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
        println!(
            "{:16} {:>12} {:>12} {:>9}",
            "case", "instructions", "committed", "change"
        );
        let mut warnings = String::new();
        for (case, now) in &self.0 {
            let Some(before) = figure_of(&committed, case) else {
                println!("{case:16} {now:>12} {:>12} {:>9}", "-", "-");
                continue;
            };
            let change = percent(*now, before);
            println!("{case:16} {now:>12} {before:>12} {change:>+7.1} %");
            if change > LIMIT {
                writeln!(
                    warnings,
                    "warning: {case} costs {change:.1} % more instructions than the \
                     committed figure"
                )
                .expect("a string");
            }
        }
        eprint!("{warnings}");
    }

    pub fn write(&self) {
        let lines = self
            .0
            .iter()
            .map(|(case, figure)| format!("{case}: {figure}\n"));
        let text = HEADER.to_owned() + &lines.collect::<String>();
        std::fs::write(COMMITTED, text).expect("a writable file");
    }
}

fn figure_of(committed: &str, case: &str) -> Option<u64> {
    let mut lines = committed.lines().filter_map(|line| line.split_once(": "));
    let (_, figure) = lines.find(|(name, _)| *name == case)?;
    Some(
        figure
            .parse()
            .expect("a number in benches/instructions.txt"),
    )
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn percent(now: u64, before: u64) -> f64 {
    (now as f64 / before as f64 - 1.0) * 100.0
}
