//! The binary in a process of its own, with as many descriptors as a test gives it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::support::{lock, logs};

/// A running binary.
pub struct Process {
    child: Child,
    addresses: HashMap<String, SocketAddr>,
    lines: Arc<Mutex<Vec<String>>>,
    _dir: TempDir,
}

impl Process {
    /// Runs the binary after this shell command, such as `ulimit -n 256`, and waits until it
    /// listens. `@DIR@` is its directory.
    pub fn start(shell: &str, yaml: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        let yaml = yaml.replace("@DIR@", &dir.path().display().to_string());
        let file = dir.path().join("sidecar.yaml");
        std::fs::write(&file, format!("log: {{ encoding: json }}\n{yaml}"))
            .expect("a writable directory");
        std::fs::write(dir.path().join("secret"), "a-secret-of-16-bytes\n")
            .expect("a writable directory");
        let script = format!("{shell}; exec \"$0\" run --config \"$1\"");
        let mut command = Command::new("sh");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_m2m-sidecar")])
            .arg(&file);
        // Otherwise every process would open the same default store in the source directory.
        command.current_dir(dir.path());
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (started, is_started) = std::sync::mpsc::channel();
        let (stderr, noted) = (child.stderr.take().expect("piped"), lines.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                logs::note(&line);
                let is_last = line.contains("\"started\"");
                lock(&noted).push(line);
                if is_last {
                    let _ = started.send(());
                }
            }
        });
        wait(&is_started, &lines);
        let addresses = lock(&lines)
            .iter()
            .filter_map(|line| listening(line))
            .collect();
        Self {
            child,
            addresses,
            lines,
            _dir: dir,
        }
    }

    /// The address of a listener.
    pub fn address(&self, listener: &str) -> SocketAddr {
        self.addresses[listener]
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its log lines with this text.
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        lock(&self.lines)
            .iter()
            .filter(|line| line.contains(text))
            .cloned()
            .collect()
    }

    /// The number of its open descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id()))
            .expect("a process")
            .count()
    }

    /// Its resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The peak of its resident memory in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("a process");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("a line of the kernel's");
        line.trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number")
    }
}

fn wait(is_started: &Receiver<()>, lines: &Mutex<Vec<String>>) {
    let came = is_started.recv_timeout(std::time::Duration::from_mins(1));
    assert!(came.is_ok(), "it did not start: {:?}", lock(lines));
}

fn listening(line: &str) -> Option<(String, SocketAddr)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    Some((
        line["listener"].as_str()?.to_owned(),
        line["address"].as_str()?.parse().ok()?,
    ))
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
