//! A server with a daemon that is a fake, users, and clients that are programs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lbd::cli::ssh::status::Status;
use lbd::cli::ssh::{GateLimits, Limits, Server};
use lbd::config::{Config, Name, Secret, SshKey, User};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::fake::Fake;

/// What is waited for has this long.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Of `admin`, at level 15.
pub const PASSWORD: &str = "correct horse";
/// Of `watch`, at level 1; and what `enable` wants.
pub const WATCH: &str = "battery staple";
pub const ENABLE: &str = "open sesame";

pub struct Stage {
    pub fake: Arc<Fake>,
    pub dir: PathBuf,
    pub address: SocketAddr,
    status: watch::Receiver<Status>,
    server: JoinHandle<()>,
}

/// A login that fails is told at once, and a source may fail often: all tests come from one.
pub fn patient() -> Limits {
    let gate = GateLimits { failures: 1_000, new_in_a_second: 1_000, ..GateLimits::default() };
    Limits { gate, denied_after: Duration::from_millis(100) }
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(Fake::default(), patient(), |_| {}).await
    }

    pub async fn with(fake: Fake, limits: Limits, change: impl FnOnce(&mut Config)) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let dir = std::env::temp_dir().join(format!("lbd-ssh-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for (name, kind) in [("key", "ed25519"), ("wrong", "ed25519"), ("ecdsa", "ecdsa")] {
            let path = dir.join(name);
            run(Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", "", "-C", name, "-f"]).arg(path)).await;
        }
        let key = |name: &str| SshKey::new(&std::fs::read_to_string(dir.join(name)).unwrap()).unwrap();
        let user = |level, password: &str, ssh_keys| {
            let secret = Some(lbd::access::secrets::hash(password).unwrap());
            User { level, secret, ssh_keys }
        };
        let fake = Arc::new(fake);
        let enable = crypt(ENABLE).await;
        {
            let mut configuration = fake.configuration.lock().unwrap();
            let config = &mut configuration.running.config;
            config.users.clear();
            config.users.insert(name("admin"), user(15, PASSWORD, vec![key("key.pub"), key("ecdsa.pub")]));
            config.users.insert(name("watch"), user(1, WATCH, Vec::new()));
            config.enable_secret = Some(enable);
            config.ssh.listen = vec!["127.0.0.1:0".parse().unwrap()];
            config.ssh.access.clear();
            change(config);
        }
        let server = Server::open(fake.clone(), &dir, limits).unwrap();
        let status = server.status();
        let server = tokio::spawn(server.run());
        let mut stage = Self { fake, dir, address: "127.0.0.1:1".parse().unwrap(), status, server };
        stage.address = stage.listens().await;
        stage
    }

    /// The address, as soon as there is one.
    pub async fn listens(&self) -> SocketAddr {
        let mut status = self.status.clone();
        let found = timeout(PATIENCE, status.wait_for(|status| status.listening.iter().any(|l| l.at.is_ok()))).await;
        let status = found.expect("nobody listens").unwrap().clone();
        status.listening.into_iter().find_map(|listening| listening.at.ok()).unwrap()
    }

    /// Until nobody listens.
    pub async fn is_shut(&self) {
        let mut status = self.status.clone();
        let shut = |status: &Status| status.fingerprint.is_some() && status.listening.is_empty();
        timeout(PATIENCE, status.wait_for(shut)).await.expect("it listens").unwrap();
    }

    pub fn change(&self, change: impl FnOnce(&mut Config)) {
        change(&mut self.fake.configuration.lock().unwrap().running.config);
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// OpenSSH's client as `admin`, with a key, unless the options say otherwise.
    pub fn ssh(&self, options: &[&str]) -> Command {
        let mut command = self.ssh_as("admin", options);
        command.args(["-i", &self.path("key"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]);
        command
    }

    pub fn ssh_as(&self, user: &str, options: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-F", "/dev/null", "-p", &self.address.port().to_string(), "-l", user]);
        command.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]);
        command.args(options).arg("127.0.0.1").env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
        command.kill_on_drop(true);
        command
    }

    /// A script of `tests/ssh/clients`, with Debian's own Python, or the one of LBD_PYTHON, which may have newer clients;
    /// what it prints.
    pub async fn python(&self, script: &str, args: &[&str]) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ssh/clients").join(script);
        let python = std::env::var("LBD_PYTHON").unwrap_or_else(|_| "/usr/bin/python3".into());
        let mut command = Command::new(python);
        command.arg(path).arg(self.address.port().to_string()).arg(&self.dir).args(args);
        command.env_remove("SSH_AUTH_SOCK").env("HOME", &self.dir);
        run(&mut command).await
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.server.abort();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// As OpenSSL hashes it.
async fn crypt(password: &str) -> Secret {
    Secret::new(run(Command::new("openssl").args(["passwd", "-6", password])).await.trim()).unwrap()
}

/// What a program has said at its end, which must be in time. One that is not there fails the test.
pub async fn output(command: &mut Command) -> Output {
    let name = format!("{:?}", command.as_std().get_program());
    let running = command.kill_on_drop(true).output();
    let ended = timeout(PATIENCE, running).await.unwrap_or_else(|_| panic!("{name} did not end in time"));
    ended.unwrap_or_else(|error| panic!("{name}: {error}; `tools/setup.sh test` installs the clients"))
}

/// The same, of one that must succeed.
pub async fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = output(command).await;
    let (out, error) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{:?}: {status}\n{out}\n{error}", command.as_std());
    out.into_owned()
}
