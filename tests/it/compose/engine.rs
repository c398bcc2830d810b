//! A container engine for one scenario, with the namespaces, roots, names and secrets of Compose.
//! Each start of a service with its own network namespace gives it a new address on one bridge. The
//! test is on the other side of the bridge. All roots share one hosts file for the names. The
//! engine covers shared network namespaces, start order and health, mounts, secrets, read-only
//! roots and capabilities. It does not cover image layers and the user's number.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use super::project::{Project, Service};

const STEP: Duration = Duration::from_millis(100);
/// The longest wait for a condition. It is generous, because it only ends failed tests.
const WAIT_LIMIT: Duration = Duration::from_secs(30);

/// Waits until there is a value.
pub fn until<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    try_until(WAIT_LIMIT, &mut fact).unwrap_or_else(|| panic!("not within {WAIT_LIMIT:?}: {what}"))
}

fn try_until<T>(limit: Duration, fact: &mut impl FnMut() -> Option<T>) -> Option<T> {
    let tries = limit.as_millis() / STEP.as_millis();
    (0..tries).find_map(|_| {
        let found = fact();
        if found.is_none() {
            std::thread::sleep(STEP);
        }
        found
    })
}

/// Runs a command that must succeed, and returns its output.
pub fn must(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn words(line: &str) -> Command {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words).stdin(Stdio::null());
    command
}

/// A network namespace, kept by a sleeping process.
struct Network {
    holder: Child,
    address: String,
}

pub struct Engine {
    /// The project's directory.
    dir: PathBuf,
    /// The engine's own directory.
    own: PathBuf,
    services: BTreeMap<String, Service>,
    order: Vec<String>,
    networks: BTreeMap<String, Network>,
    running: BTreeMap<String, Child>,
    /// Counts addresses and roots.
    next: u8,
}

impl Engine {
    /// An engine for the project in `dir`. Call it in new network and mount namespaces.
    pub fn new(dir: &Path, own: &Path, project: Project) -> Self {
        for name in ["names", "logs", "roots"] {
            fs::create_dir(own.join(name)).expect("a directory");
        }
        for line in [
            "ip link set lo up",
            "ip link add br0 type bridge",
            "ip address add 10.77.0.1/24 dev br0",
        ] {
            must(&mut words(line));
        }
        must(&mut words("ip link set br0 up"));
        let order = project
            .start_order()
            .into_iter()
            .map(str::to_owned)
            .collect();
        Self {
            dir: dir.to_owned(),
            own: own.to_owned(),
            services: project.services,
            order,
            networks: BTreeMap::new(),
            running: BTreeMap::new(),
            next: 1,
        }
    }

    /// Starts every service in the order of `depends_on`, each after its dependencies are healthy.
    pub fn up(&mut self) {
        for name in self.order.clone() {
            for needed in self.services[&name].depends_on.clone() {
                self.wait_for_health(&needed.service);
            }
            self.start(&name);
        }
    }

    /// Adds a service that is not in the file.
    pub fn add(&mut self, name: &str, service: Service) {
        self.services.insert(name.to_owned(), service);
    }

    pub fn service(&self, name: &str) -> &Service {
        &self.services[name]
    }

    pub fn wait_for_health(&mut self, name: &str) {
        let check = self.services[name].healthcheck.clone();
        until(&format!("{name} is healthy"), || {
            self.exec(name, &check).status.success().then_some(())
        });
    }

    pub fn start(&mut self, name: &str) {
        let service = self.services[name].clone();
        if service.network_of.is_none() {
            self.make_network(name);
        }
        self.next += 1;
        let root = self.own.join(format!("roots/{}", self.next));
        fs::create_dir(&root).expect("a directory");
        let holder = self.networks[service.network_of.as_deref().unwrap_or(name)]
            .holder
            .id();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file(name))
            .expect("a log file");
        let mut command = words(&format!("nsenter --target {holder} --net unshare --mount"));
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/compose/container.sh"));
        command.arg(&root).arg(self.own.join("names"));
        if service.is_sidecar {
            command.arg("tmpfs:/usr/local/bin:ro");
            command.arg(format!(
                "{}:/usr/local/bin/m2m-sidecar:ro",
                env!("CARGO_BIN_EXE_m2m-sidecar")
            ));
        }
        for mount in &service.mounts {
            let source = self.dir.join(&mount.source);
            if mount.source.starts_with("volumes/") {
                fs::create_dir_all(&source).expect("a volume");
            }
            let source = source.canonicalize().expect("the file of a mount exists");
            let mode = if mount.read_only { "ro" } else { "rw" };
            command.arg(format!("{}:{}:{mode}", source.display(), mount.target));
        }
        command
            .arg("--")
            .args(&service.command)
            .envs(service.environment)
            .stderr(log.try_clone().expect("a log"));
        let child = command.stdout(log).spawn().expect("nsenter");
        assert!(
            self.running.insert(name.to_owned(), child).is_none(),
            "{name} runs already"
        );
    }

    /// A namespace with a link to the bridge, an unused address, and a name for it.
    fn make_network(&mut self, name: &str) {
        let script = "ip link set lo up && echo up && exec sleep infinity";
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("a line");
        assert_eq!(line, "up\n");
        self.next += 1;
        let (pid, number) = (holder.id(), self.next);
        let address = format!("10.77.0.{number}");
        must(&mut words(&format!(
            "ip link add link{number} type veth peer name eth0 netns {pid}"
        )));
        must(&mut words(&format!(
            "ip link set link{number} master br0 up"
        )));
        let inside = format!("nsenter --target {pid} --net ip");
        must(&mut words(&format!(
            "{inside} address add {address}/24 dev eth0"
        )));
        must(&mut words(&format!("{inside} link set eth0 up")));
        self.networks
            .insert(name.to_owned(), Network { holder, address });
        self.write_names();
    }

    /// Replaces the file atomically, so that no reader gets half of it.
    fn write_names(&self) {
        let mut hosts = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
        for (name, network) in &self.networks {
            hosts.push_str(&format!("{} {name}\n", network.address));
        }
        fs::write(self.own.join("names/next"), hosts).expect("a file");
        fs::rename(self.own.join("names/next"), self.own.join("names/hosts")).expect("a file");
    }

    /// Ends a service with SIGTERM, after those in its namespace. A sidecar must end within its
    /// grace period and with 0. Its address and name end too.
    pub fn stop(&mut self, name: &str) {
        for joined in self.joined(name) {
            self.stop(&joined);
        }
        let Some(mut child) = self.running.remove(name) else {
            return;
        };
        must(&mut words(&format!("kill -TERM {}", child.id())));
        let service = &self.services[name];
        let ended = try_until(service.stop_grace_period, &mut || {
            child.try_wait().expect("a child")
        });
        let ended = ended.unwrap_or_else(|| panic!("{name} did not end in its grace period"));
        assert!(
            !service.is_sidecar || ended.code() == Some(0),
            "{name}: {ended}"
        );
        if let Some(mut network) = self.networks.remove(name) {
            network
                .holder
                .kill()
                .and_then(|()| network.holder.wait())
                .expect("the holder ends");
            self.write_names();
        }
    }

    /// Restarts like `docker compose restart`: with the services that have `restart: true`.
    pub fn restart(&mut self, name: &str) {
        self.stop(name);
        self.start(name);
        for joined in self.joined(name) {
            self.wait_for_health(name);
            self.start(&joined);
        }
    }

    /// The services in a service's namespace, which restart with it.
    fn joined(&self, name: &str) -> Vec<String> {
        let joined = self
            .services
            .iter()
            .filter(|(_, service)| service.network_of.as_deref() == Some(name));
        let restarted = |service: &Service| {
            service
                .depends_on
                .iter()
                .any(|d| d.service == name && d.restart)
        };
        joined
            .map(|(joined, service)| {
                assert!(
                    restarted(service),
                    "{joined} would be stranded by a restart of {name}"
                );
                joined.clone()
            })
            .collect()
    }

    /// Runs a command in a running service.
    pub fn exec(&self, name: &str, command: &[String]) -> Output {
        let pid = self.running[name].id();
        words(&format!(
            "nsenter --target {pid} --net --mount --root --wd=/"
        ))
        .args(command)
        .envs(self.services[name].environment.clone())
        .output()
        .expect("nsenter")
    }

    pub fn pid(&self, name: &str) -> u32 {
        self.running[name].id()
    }

    pub fn address(&self, name: &str) -> &str {
        &self.networks[name].address
    }

    /// The output of a service.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.log_file(name)).unwrap_or_default()
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.own.join(format!("logs/{name}"))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for child in self
            .running
            .values_mut()
            .chain(self.networks.values_mut().map(|n| &mut n.holder))
        {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for name in self.services.keys() {
                let log = self.log(name);
                let lines: Vec<_> = log.lines().collect();
                eprintln!(
                    "--- the end of {name}'s log\n{}",
                    lines[lines.len().saturating_sub(25)..].join("\n")
                );
            }
        }
    }
}
