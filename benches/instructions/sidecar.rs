//! A running sidecar with a directory of its own.

use std::fs::{self, File, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The log of the last one that started.
pub const LOG: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/instructions/sidecar.log");
/// The secret of the one client.
pub const SECRET: &str = "bench-secret-of-32-characters-00";

pub struct Sidecar {
    pub address: SocketAddr,
    process: Child,
    _directory: TempDir,
}

impl Sidecar {
    /// Runs `command`, which is the binary or a program before it, with this configuration.
    pub fn start(mut command: Command, config: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let [address, probes] = free_addresses();
        let secret = directory.path().join("ours.secret");
        fs::write(&secret, SECRET).expect("a writable directory");
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("our own file");
        let config = config
            .replace("@RUN@", directory.path().to_str().expect("a UTF-8 path"))
            .replace("@LISTEN@", &address.to_string())
            .replace("@ADMIN@", &probes.to_string());
        let file = directory.path().join("ours.yaml");
        fs::write(&file, config).expect("a writable directory");
        let log = File::create(LOG).expect("a writable target directory");
        let started = command.args(["run", "--config"]).arg(file).stderr(log);
        let process = started.spawn();
        Self {
            address,
            process: process.unwrap_or_else(|error| panic!("{command:?}: {error}")),
            _directory: directory,
        }
    }

    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("our own child").is_some()
    }

    /// Ends it by SIGTERM, so that it finishes and writes its profile.
    pub fn end(mut self) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::TERM).expect("a running process");
        let status = self.process.wait().expect("our own child");
        assert!(
            status.success(),
            "the sidecar ended with {status}; see {LOG}"
        );
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // An ended process is no failure here.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two addresses that nothing listens on.
fn free_addresses() -> [SocketAddr; 2] {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    [0, 1]
        .map(bind)
        .map(|listener| listener.local_addr().expect("bound"))
}
