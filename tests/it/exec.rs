//! `exec`: a command beside the sidecar, with its signals, its exit code and its environment.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::commands::{ended, sidecar, text};
use crate::support::authority::{Authority, Endpoint};
use crate::support::behave::Behave;
use crate::support::logs;
use crate::support::network::isolated;
use crate::support::upstream::Upstream;

const SECRET: &str = "secret-of-the-command";

/// A directory with a configuration: an outbound listener whose credential has this authority.
fn configured(authority: &str, upstream: &str, more: &str) -> (TempDir, String) {
    let dir = TempDir::new().expect("a directory");
    let secret = dir.path().join("secret");
    std::fs::write(&secret, SECRET).expect("a writable directory");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).expect("a file of ours");
    let yaml = format!(
        "{more}\nlog: {{ encoding: json }}\nstateDir: \"{dir}\"\ncredentials: {{ hub: {{ \
        tokenUrl: \"{authority}\", clientID: legacy, clientSecretFile: \"{dir}/secret\", \
        prefetch: true }} }}\noutbound: [{{ name: hub, listen: 127.0.0.1:0, upstream: \
        \"{upstream}\", credential: hub }}]\n",
        dir = dir.path().display()
    );
    let file = dir.path().join("exec.yaml");
    std::fs::write(&file, yaml).expect("a writable directory");
    let file = file.display().to_string();
    (dir, file)
}

fn without_authority(more: &str) -> (TempDir, String) {
    configured("http://127.0.0.1:9/", "http://127.0.0.1:9", more)
}

/// `exec` with these options and this command, in a process group of its own.
fn exec(config: &str, options: &[&str], command: &[&str]) -> Command {
    let mut exec = sidecar(&["exec", "--config", config]);
    exec.args(options).arg("--").args(command).process_group(0);
    exec
}

fn run(config: &str, options: &[&str], command: &[&str]) -> (Option<i32>, String, String) {
    let output = exec(config, options, command).output();
    ended(&output.expect("the binary runs"))
}

#[test]
fn it_ends_with_the_exit_code_of_the_command_and_leaves_its_output_alone() {
    let (_dir, config) = without_authority("");
    let script = "printf out; printf err >&2; exit 7";
    let (code, out, err) = run(&config, &[], &["sh", "-c", script]);
    assert_eq!((code, out.as_str()), (Some(7), "out"), "{err}");
    assert!(err.contains("err") && err.contains("\"ended\""), "{err}");
    let (code, out, _) = run(&config, &[], &["true"]);
    assert_eq!((code, out.as_str()), (Some(0), ""));
    // The options of the command are not those of the sidecar.
    let (code, out, _) = run(&config, &[], &["printf", "%s", "--wait"]);
    assert_eq!((code, out.as_str()), (Some(0), "--wait"));
    for (signal, expected) in [("TERM", 143), ("KILL", 137)] {
        let (code, ..) = run(&config, &[], &["sh", "-c", &format!("kill -{signal} $$")]);
        assert_eq!(code, Some(expected), "{signal}");
    }
}

#[test]
fn the_command_has_the_standard_input() {
    let (dir, config) = without_authority("");
    let input = dir.path().join("input");
    std::fs::write(&input, "a line\n").expect("a writable directory");
    let mut command = exec(&config, &[], &["cat"]);
    command.stdin(std::fs::File::open(&input).expect("a file"));
    let (code, out, _) = ended(&command.output().expect("the binary runs"));
    assert_eq!((code, out.as_str()), (Some(0), "a line\n"));
}

#[test]
fn a_command_that_cannot_be_run_is_127_or_126() {
    let (dir, config) = without_authority("");
    let (code, out, err) = run(&config, &[], &["/nowhere/at/all"]);
    assert_eq!((code, out.as_str()), (Some(127), ""));
    assert!(err.contains("cannot run /nowhere/at/all"), "{err}");
    let plain = dir.path().join("secret").display().to_string();
    let (code, _, err) = run(&config, &[], &[&plain]);
    assert_eq!(code, Some(126), "{err}");
    assert!(
        err.contains("cannot run") && err.contains("secret"),
        "{err}"
    );
}

#[test]
fn wrong_usage_is_2_and_runs_nothing() {
    let (_dir, config) = without_authority("");
    for options in [
        &["--set-url", "HUB"][..],
        &["--set-url", "HUB=nub"],
        &["--set-proxy", "nub"],
    ] {
        let (code, out, err) = run(&config, options, &["echo", "ran"]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{options:?}: {err}");
        assert!(!err.is_empty());
    }
    let output = sidecar(&["exec", "--config", &config]).output();
    assert_eq!(output.expect("the binary runs").status.code(), Some(2));
}

#[test]
fn a_sidecar_that_is_not_ready_in_time_is_1_with_the_reason() {
    let (_dir, config) = without_authority("readiness: [credentials]");
    let (code, out, err) = run(&config, &["--wait", "0"], &["echo", "ran"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let expected = "not ready after 0 s, so the command was not run: credentials (hub)";
    assert!(err.contains(expected), "{err}");
    let (code, out, err) = run("/nowhere/at/all.yaml", &[], &["echo", "ran"]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_runs_when_the_sidecar_is_ready_and_calls_it() {
    let mark = logs::mark();
    let (authority, upstream) = (Authority::start(), Upstream::start());
    authority.register_client("legacy", SECRET);
    authority.behave_next(Endpoint::Token, [Behave::Status(503)]);
    let more = "readiness: [credentials]";
    let (_dir, config) = configured(&authority.token_url(), &upstream.url(), more);
    let options = ["--set-url", "HUB=hub", "--set-proxy", "hub"];
    let script = "curl -sS --noproxy '*' \"$HUB/a\" >&2 && echo \"$HUB $http_proxy $HTTP_PROXY\"";
    let (code, out, err) = run(&config, &options, &["sh", "-c", script]);
    assert_eq!(code, Some(0), "{err}");
    let urls: Vec<_> = out.split_whitespace().collect();
    assert!(urls[0].starts_with("http://127.0.0.1:"), "{out}");
    assert_eq!(urls, [urls[0]; 3]);
    let received = upstream.received();
    assert_eq!(received[0].bearer(), Some(authority.issued()[0].as_str()));
    let mut unchanged = exec(&config, &[], &["sh", "-c", "echo \"[$http_proxy$HUB]\""]);
    let unchanged = unchanged.env_remove("http_proxy").output();
    let (code, out, _) = ended(&unchanged.expect("the binary runs"));
    assert_eq!((code, out.trim_end()), (Some(0), "[]"));
    logs::assert_no_leaks(mark);
}

struct Started(Child);

impl Started {
    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status();
        assert!(sent.expect("kill").success());
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn signals_reach_the_command() {
    const COMMAND: &str = "import signal
def on(number, frame): print(signal.Signals(number).name, flush=True)
for name in ('HUP', 'USR1', 'USR2', 'WINCH', 'ALRM', 'INT', 'QUIT'):
    signal.signal(getattr(signal, 'SIG' + name), on)
print('ready', flush=True)
while True: signal.pause()
";
    let (_dir, config) = without_authority("");
    let mut command = exec(&config, &[], &["python3", "-c", COMMAND]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut started = Started(child.expect("the binary runs"));
    let mut lines = BufReader::new(started.0.stdout.take().expect("piped")).lines();
    let mut next = || lines.next().expect("it still runs").expect("UTF-8");
    assert_eq!(next(), "ready");
    for name in ["HUP", "USR1", "USR2", "WINCH", "ALRM", "INT", "QUIT", "HUP"] {
        started.signal(name);
        assert_eq!(next(), format!("SIG{name}"));
    }
    started.signal("TERM");
    assert_eq!(started.0.wait().expect("ends").code(), Some(143));
    let mut err = String::new();
    let stderr = started.0.stderr.as_mut().expect("piped");
    stderr.read_to_string(&mut err).expect("UTF-8");
    logs::note(&err);
    assert!(err.contains("draining"), "{err}");
}

#[test]
fn a_signal_before_the_command_ends_exec() {
    let (_dir, config) = without_authority("readiness: [credentials]");
    let mut command = exec(&config, &["--wait", "600"], &["echo", "ran"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut started = Started(child.expect("the binary runs"));
    let lines = BufReader::new(started.0.stderr.take().expect("piped")).lines();
    let lines = lines.map(|line| line.expect("UTF-8"));
    for line in lines.inspect(|line| logs::note(line)) {
        if line.contains("\"started\"") {
            started.signal("TERM");
        }
    }
    assert_eq!(started.0.wait().expect("ends").code(), Some(143));
    let mut out = Vec::new();
    let stdout = started.0.stdout.as_mut().expect("piped");
    stdout.read_to_end(&mut out).expect("a pipe");
    assert_eq!(text(&out), "");
}

#[cfg(target_os = "linux")] // It needs namespaces.
#[test]
fn as_process_1_it_reaps_orphans() {
    const COMMAND: &str = "import os, sys, time
reading, writing = os.pipe()
if os.fork() == 0:
    orphan = os.fork()
    if orphan > 0:
        os.write(writing, str(orphan).encode())
    os._exit(0)
os.wait()
orphan, end = os.read(reading, 16).decode(), time.monotonic() + 60
while os.path.exists('/proc/' + orphan):
    if time.monotonic() > end: sys.exit('the orphan stays')
    time.sleep(0.01)
sys.exit(5 if os.getppid() == 1 else 'its parent is not process 1')
";
    let new = ["--pid", "--fork", "--mount-proc"];
    let possible = Command::new("unshare").args(new).arg("true").status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this machine allows no namespace of processes");
        return;
    }
    let (_dir, config) = without_authority("");
    let mut command = Command::new("unshare");
    command.args(new).arg(env!("CARGO_BIN_EXE_m2m-sidecar"));
    command.args(["exec", "--config", &config, "--", "python3", "-c", COMMAND]);
    let output = command.output().expect("unshare");
    let (code, _, err) = ended(&output);
    assert_eq!(code, Some(5), "{err}");
}

/// Other machines are refused where the system redirects their connections to loopback: then the
/// address of the listener does not protect it.
#[cfg(target_os = "linux")] // It needs namespaces.
#[test]
fn a_peer_with_another_address_than_loopback_is_refused_without_allow_remote() {
    const COMMAND: &str = "import os, socket, sys
port = int(os.environ['HUB'].rsplit(':', 1)[1])
def ask(source):
    peer = socket.create_connection(('127.0.0.1', port), source_address=(source, 0))
    try:
        peer.sendall(b'TRACE / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')
        return peer.recv(12)
    except ConnectionError: return b''
print(ask('127.0.0.2'), ask('192.0.2.1'))
";
    let path = "PATH=$PATH:/usr/sbin:/sbin";
    let setup = format!("{path} ip addr add 192.0.2.1/32 dev lo || exit 77; exec \"$@\"");
    let run = |config: &str| {
        let mut command = isolated("sh");
        command.args(["-c", &setup, "sh", env!("CARGO_BIN_EXE_m2m-sidecar")]);
        command.args(["exec", "--config", config, "--set-url", "HUB=hub", "--"]);
        command.args(["python3", "-c", COMMAND]);
        ended(&command.output().expect("a shell"))
    };
    let (_dir, config) = without_authority("");
    let (code, out, err) = run(&config);
    if code == Some(77) {
        eprintln!("skipped: this machine allows no network namespace");
        return;
    }
    assert_eq!(out.trim(), "b'HTTP/1.1 405' b''", "{err}");
    assert!(
        err.contains("allowRemote") && err.contains("192.0.2.1"),
        "{err}"
    );
    let yaml = std::fs::read_to_string(&config).expect("a file");
    let yaml = yaml.replace(
        "credential: hub }]",
        "credential: hub, allowRemote: true }]",
    );
    std::fs::write(&config, yaml).expect("a writable directory");
    let (_, out, err) = run(&config);
    assert_eq!(out.trim(), "b'HTTP/1.1 405' b'HTTP/1.1 405'", "{err}");
}

#[test]
fn https_goes_to_a_proxy_with_tunnels_only() {
    let (dir, config) = without_authority("");
    let yaml = std::fs::read_to_string(&config).expect("a file");
    let one = "upstream: \"http://127.0.0.1:9\", credential: hub";
    let target = "{ host: hub.example, upstream: \"http://127.0.0.1:9\", credential: hub }";
    for (tunnels, expected) in [("", false), (", tunnels: [api.example]", true)] {
        let forward = format!("forwardProxy: {{ targets: [{target}]{tunnels} }}");
        let file = dir.path().join("forward.yaml");
        std::fs::write(&file, yaml.replace(one, &forward)).expect("a writable directory");
        let file = file.display().to_string();
        let script = "echo \"$http_proxy $HTTP_PROXY\"; echo \"$https_proxy$HTTPS_PROXY\"";
        let mut command = exec(&file, &["--set-proxy", "hub"], &["sh", "-c", script]);
        command.env_remove("https_proxy").env_remove("HTTPS_PROXY");
        let (code, out, err) = ended(&command.output().expect("the binary runs"));
        assert_eq!(code, Some(0), "{err}");
        let lines: Vec<_> = out.lines().collect();
        assert!(lines[0].contains(" http://127.0.0.1:"), "{out}");
        assert_eq!(!lines[1].is_empty(), expected, "{out}");
    }
}
