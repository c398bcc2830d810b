//! The sidecar itself, in this process, from a configuration file as users write it.

use std::collections::HashMap;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use m2m_sidecar::for_tests::app::{self, Running};
use m2m_sidecar::for_tests::config;
use m2m_sidecar::for_tests::domain::clock::{Clock, SystemClock};
use tempfile::TempDir;

use super::logs;

/// What a configuration needs around it: a directory, secret files, variables.
pub struct SidecarBuilder {
    dir: TempDir,
    /// Where its log begins.
    mark: usize,
    env: HashMap<String, String>,
    clock: Arc<dyn Clock>,
}

impl SidecarBuilder {
    /// Writes a file into the sidecar's directory; the configuration names it `@DIR@/name`.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).expect("a writable directory");
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).expect("a file of ours");
        self
    }

    /// A file of the directory it will have.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a client's secret into a file, and has it looked for in all logs.
    pub fn secret_file(self, name: &str, client_id: &str, secret: &str) -> Self {
        logs::remember_client_secret(client_id, secret);
        self.file(name, format!("{secret}\n"))
    }

    /// Writes a private key into a file, and has it looked for in all logs.
    pub fn key_file(self, name: &str, pem: &str) -> Self {
        logs::remember_private_key(pem);
        self.file(name, pem)
    }

    /// Sets a variable of the environment that the configuration sees; it sees no others.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Lets it go by this clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Starts it, or says why not: every problem of the configuration, or what did not start.
    pub async fn try_start(self, yaml: &str) -> Result<Sidecar, String> {
        // What an operator reads must hold no secret either.
        self.load_and_start(yaml)
            .await
            .inspect_err(|why| logs::note(why))
    }

    async fn load_and_start(self, yaml: &str) -> Result<Sidecar, String> {
        let dir = self.dir.path().to_str().expect("a temporary path is UTF-8");
        let file = self.dir.path().join("sidecar.yaml");
        std::fs::write(&file, yaml.replace("@DIR@", dir)).expect("a writable directory");
        let loaded =
            config::load(&file, &|name| self.env.get(name).cloned()).map_err(|e| e.to_string())?;
        let running = app::start_with_clock(loaded.config, self.clock)
            .await
            .map_err(|e| e.to_string())?;
        Ok(Sidecar {
            running: Some(running),
            dir: self.dir,
            mark: self.mark,
        })
    }

    /// Starts it.
    pub async fn start(self, yaml: &str) -> Sidecar {
        self.try_start(yaml)
            .await
            .unwrap_or_else(|why| panic!("the sidecar did not start:\n{why}"))
    }
}

/// A running sidecar. Its end, in whatever way, checks that nothing secret was logged.
pub struct Sidecar {
    running: Option<Running>,
    dir: TempDir,
    mark: usize,
}

impl Sidecar {
    /// Something to start it from.
    pub fn builder() -> SidecarBuilder {
        logs::start();
        SidecarBuilder {
            dir: TempDir::new().expect("a temporary directory"),
            mark: logs::mark(),
            env: HashMap::new(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Starts it from a configuration that needs nothing else. `127.0.0.1:0` takes a free port,
    /// `@DIR@` is a directory of its own.
    pub async fn start(yaml: &str) -> Self {
        Self::builder().start(yaml).await
    }

    /// Where a listener listens, by its name; `issuer` and `probes` for those.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let running = self.running.as_ref().expect("present until stopped");
        running
            .address(listener)
            .unwrap_or_else(|| panic!("no listener {listener}"))
    }

    /// Every listener's name and address.
    pub fn addresses(&self) -> impl Iterator<Item = (String, SocketAddr)> {
        let running = self.running.as_ref().expect("present until stopped");
        running
            .addresses()
            .map(|(name, address)| (name.to_owned(), address))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// A file of its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Ends it in order, and checks what was logged.
    pub async fn stop(mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().await;
        }
    }

    /// Ends it in order but keeps its directory, for a successor that starts from the same state.
    pub async fn stop_keeping_state(mut self) -> SidecarBuilder {
        if let Some(running) = self.running.take() {
            running.shutdown().await;
        }
        let dir = std::mem::replace(
            &mut self.dir,
            TempDir::new().expect("a temporary directory"),
        );
        SidecarBuilder {
            dir,
            mark: self.mark,
            env: HashMap::new(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // A second panic would abort the process and hide the first.
        if !std::thread::panicking() {
            logs::assert_no_leaks(self.mark);
        }
    }
}
