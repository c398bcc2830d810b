//! The sidecar in this process, from a configuration file.

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

/// The surroundings of a configuration: a directory, secret files, variables.
pub struct SidecarBuilder {
    dir: TempDir,
    /// The begin of its log.
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

    /// The path of a file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a client's secret into a file, and registers it as a secret.
    pub fn secret_file(self, name: &str, client_id: &str, secret: &str) -> Self {
        logs::remember_client_secret(client_id, secret);
        self.file(name, format!("{secret}\n"))
    }

    /// Writes a private key into a file, and registers it as a secret.
    pub fn key_file(self, name: &str, pem: &str) -> Self {
        logs::remember_private_key(pem);
        self.file(name, pem)
    }

    /// Sets an environment variable; the configuration sees no others.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets its clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Starts it, or gives every problem of the configuration or the failure of the start.
    pub async fn try_start(self, yaml: &str) -> Result<Sidecar, String> {
        // An error that an operator reads must hold no secret either.
        self.load_and_start(yaml)
            .await
            .inspect_err(|why| logs::note(why))
    }

    async fn load_and_start(self, yaml: &str) -> Result<Sidecar, String> {
        let config = load(self.dir.path(), &self.env, yaml)?;
        let running = app::start_with_clock(config, self.clock)
            .await
            .map_err(|e| e.to_string())?;
        Ok(Sidecar {
            running: Some(running),
            env: self.env,
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

/// Loads a configuration from a file in a directory, which is `@DIR@` in it.
fn load(dir: &Path, env: &HashMap<String, String>, yaml: &str) -> Result<config::Config, String> {
    let shown = dir.to_str().expect("a temporary path is UTF-8");
    let file = dir.join("sidecar.yaml");
    std::fs::write(&file, yaml.replace("@DIR@", shown)).expect("a writable directory");
    let loaded = config::load(&file, &|name| env.get(name).cloned());
    Ok(loaded.map_err(|e| e.to_string())?.config)
}

/// A running sidecar. Every end checks that no secret was logged.
pub struct Sidecar {
    running: Option<Running>,
    env: HashMap<String, String>,
    dir: TempDir,
    mark: usize,
}

impl Sidecar {
    /// A builder with an empty directory.
    pub fn builder() -> SidecarBuilder {
        logs::start();
        SidecarBuilder {
            dir: TempDir::new().expect("a temporary directory"),
            mark: logs::mark(),
            env: HashMap::new(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Starts it from a configuration without files. `127.0.0.1:0` takes a free port, `@DIR@` is
    /// its directory.
    pub async fn start(yaml: &str) -> Self {
        Self::builder().start(yaml).await
    }

    /// Replaces its configuration, or says why not.
    pub async fn replace(&mut self, yaml: &str) -> Result<(), String> {
        let config = load(self.dir.path(), &self.env, yaml)?;
        let running = self.running.as_mut().expect("present until stopped");
        let replaced = running.replace(&config).await;
        replaced
            .map_err(|errors| errors.to_string())
            .inspect_err(|why| logs::note(why))
    }

    /// Runs a test while changed files are taken over, as the command `run` does.
    pub async fn following<T>(&mut self, test: impl Future<Output = T>) -> T {
        let file = self.dir.path().join("sidecar.yaml");
        let text = std::fs::read_to_string(file).expect("it was started from this file");
        let env = self.env.clone();
        let resolve = move || {
            let loaded = config::parse(&text, "sidecar.yaml", &|name| env.get(name).cloned());
            Ok(loaded.map_err(|problems| problems.to_string())?.config)
        };
        let running = self.running.as_mut().expect("present until stopped");
        tokio::select! {
            done = test => done,
            () = running.follow_files(resolve) => unreachable!("it never ends"),
        }
    }

    /// The address of a listener, by its name; `issuer` and `probes` are names too.
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

    /// The path of a file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Stops it, and checks the log.
    pub async fn stop(mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown().await;
        }
    }

    /// Stops it but keeps its directory, for a successor with the same state.
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
