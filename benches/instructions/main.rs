//! Instructions per request of the whole sidecar, counted by callgrind.
//!
//! The count is a difference: one process gets N requests and another one gets 2 N, so start and
//! end do not count. It does not depend on the machine's load. `--train BIN` only sends requests.

mod cases;
mod figures;
mod load;
mod sidecar;
mod upstream;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;

use crate::cases::{Case, Tokens};
use crate::figures::Figures;
use crate::load::Load;
use crate::upstream::Upstream;

/// Where callgrind's files stay, for `callgrind_annotate`.
const PROFILES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/instructions");

#[derive(Parser)]
struct Arguments {
    /// The binary whose instructions count.
    #[arg(long, value_name = "BIN", default_value = env!("CARGO_BIN_EXE_m2m-sidecar"))]
    bin: PathBuf,
    /// Sends the requests of every case to BIN at full speed, and counts nothing.
    #[arg(long, value_name = "BIN")]
    train: Option<PathBuf>,
    /// Requests of each case; a count sends them three times. Default: 300, and 20000 for --train.
    #[arg(long, value_name = "N")]
    requests: Option<usize>,
    /// Counts only the cases whose name contains this text.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["train", "bless"])]
    only: Option<String>,
    /// Writes the counts to benches/instructions.txt.
    #[arg(long)]
    bless: bool,
    /// `cargo bench` adds it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(PROFILES).expect("a writable target directory");
    match &arguments.train {
        Some(binary) => train(binary, arguments.requests.unwrap_or(20_000)),
        None if has_valgrind() => count(&arguments),
        None => eprintln!(
            "warning: valgrind is missing, so instructions are not counted. Install it, for \
             instance by\n    sudo apt-get install valgrind"
        ),
    }
    ExitCode::SUCCESS
}

fn has_valgrind() -> bool {
    let mut version = Command::new("valgrind");
    version.arg("--version").stdout(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

fn train(binary: &PathBuf, requests: usize) {
    let upstream = Upstream::start(false);
    let tokens = Tokens::of(binary);
    for case in cases::training() {
        let config = case.config(&tokens, &upstream);
        let load = |address| Load::new(&case, &tokens, address);
        let (sidecar, load) = Load::start(|| Command::new(binary), &config, load);
        load.send(32, requests);
        sidecar.end();
        println!("{}: {requests} requests", case.name);
    }
    tokens.end();
}

fn count(arguments: &Arguments) {
    let requests = arguments.requests.unwrap_or(300);
    let upstream = Upstream::start(true);
    let tokens = Tokens::of(&arguments.bin);
    let mut figures = Figures::default();
    let only = arguments.only.as_deref().unwrap_or_default();
    let cases = cases::counted().into_iter();
    for case in cases.filter(|case| case.name.contains(only)) {
        let [once, twice] = [1, 2].map(|times| {
            instructions_of(
                &case,
                &tokens,
                &upstream,
                arguments,
                times * requests,
                times,
            )
        });
        let each = twice.saturating_sub(once) / u64::try_from(requests).expect("a small number");
        figures.add(case.name, each);
    }
    tokens.end();
    figures.report();
    if arguments.bless {
        figures.write();
    }
}

/// All instructions of a process that gets this many requests of this case.
fn instructions_of(
    case: &Case,
    tokens: &Tokens,
    upstream: &Upstream,
    arguments: &Arguments,
    requests: usize,
    run: usize,
) -> u64 {
    let name = case.name.replace([' ', ','], "-");
    let profile = format!("{PROFILES}/{name}.{run}");
    let valgrind = || {
        let mut valgrind = Command::new("valgrind");
        valgrind
            .args(["--tool=callgrind", "--vgdb=no"])
            .arg(format!("--callgrind-out-file={profile}.callgrind"))
            .arg(format!("--log-file={profile}.log"))
            .arg(&arguments.bin);
        valgrind
    };
    let load = |address| Load::new(case, tokens, address);
    let (sidecar, load) = Load::start(valgrind, &case.config(tokens, upstream), load);
    load.send_slowly(requests);
    sidecar.end();
    let counts = std::fs::read_to_string(format!("{profile}.callgrind")).expect("counts");
    let total = counts
        .lines()
        .find_map(|line| line.strip_prefix("totals: "));
    let total = total.expect("a line `totals:`").trim();
    total.parse().expect("a number of instructions")
}
