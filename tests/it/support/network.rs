//! A network namespace for programs that listen on fixed ports.

use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The `PATH` of a plain user may lack the directory of `ip`.
const SYSTEM_PATH: &str = "PATH=$PATH:/usr/sbin:/sbin";

/// A command in a network namespace of its own, where every port is free. On a machine without
/// namespaces the command runs in the network of the test.
pub fn isolated(program: &str) -> Command {
    let Some(options) = options() else {
        return Command::new(program);
    };
    let owner = std::fs::metadata("/proc/self").expect("procfs");
    let (uid, gid) = (owner.uid(), owner.gid());
    // A plain user is root in the namespace, for `ip`; the program runs as the user again.
    let back = match uid {
        0 => String::new(),
        _ => format!("unshare --user --map-user={uid} --map-group={gid}"),
    };
    let script = format!("{SYSTEM_PATH} ip link set lo up && exec {back} \"$@\"");
    let mut command = Command::new("unshare");
    command
        .args(options)
        .args(["sh", "-c", &script, "sh", program]);
    command
}

/// The options of `unshare` that this machine allows.
fn options() -> Option<&'static [&'static str]> {
    const WAYS: &[&[&str]] = &[&["--net"], &["--map-root-user", "--net"]];
    static FOUND: OnceLock<Option<&[&str]>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let is_allowed = |way: &&&[&str]| {
            let mut command = Command::new("unshare");
            let script = format!("{SYSTEM_PATH} ip link set lo up");
            command.args(**way).args(["sh", "-c", &script]);
            command.stdin(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        WAYS.iter().find(is_allowed).copied()
    })
}

#[test]
fn a_fixed_port_is_free_in_a_network_namespace() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port();
    let script = format!("import socket; socket.create_server(('127.0.0.1', {port}))");
    let run = isolated("python3").args(["-c", &script]).output();
    let run = run.expect("python3 is installed");
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.success(), options().is_some(), "{said}");
}
