//! One machine of the site: a network namespace, and ways to act inside of it.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::error::LabError;
use super::process::{Process, tie_to_this_process};

/// A handle to a host; clones are the same host.
#[derive(Clone, Debug)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    /// As in `ip netns list`.
    namespace: String,
    network: File,
}

impl Host {
    /// Makes a namespace that has a name for `ip netns`. Not by `ip netns add`, which leaves a mount
    /// of the whole directory behind.
    pub fn create(name: &str, namespace: &str) -> Result<Self, LabError> {
        let path = std::path::Path::new(super::claim::NAMESPACES).join(namespace);
        std::fs::create_dir_all(super::claim::NAMESPACES)
            .map_err(LabError::file("create", super::claim::NAMESPACES))?;
        File::create(&path).map_err(LabError::file("create", &path))?;
        let target = path.clone();
        // A thread of its own: the namespace is the thread's until it is bound to the name.
        let made = std::thread::spawn(move || -> nix::Result<()> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            mount(Some("/proc/thread-self/ns/net"), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        });
        let made = made.join().map_err(|_| LabError::NoAnswer(name.into()))?;
        made.map_err(|error| LabError::file("make the namespace", &path)(error.into()))?;
        Self::open(name, namespace)
    }

    /// Opens an existing namespace by its `ip netns` name.
    pub fn open(name: &str, namespace: &str) -> Result<Self, LabError> {
        let path = format!("{}/{namespace}", super::claim::NAMESPACES);
        let network = File::open(&path).map_err(LabError::file("open", path))?;
        Ok(Self { inner: Arc::new(Inner { name: name.into(), namespace: namespace.into(), network }) })
    }

    pub fn name(&self) -> &str {
        &self.inner.name
    }

    pub fn namespace(&self) -> &str {
        &self.inner.namespace
    }

    /// A command that will run in this host's network. Only the network: unlike `ip netns exec` it stays
    /// in our mount namespace, so that a bpffs mounted by the child outlives it. The child dies with the
    /// thread that starts it; [`Host::start`] is for those that shall stay.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        tie_to_this_process(&mut command);
        let inner = self.inner.clone();
        // SAFETY: setns(2) is a bare system call, async-signal-safe; the descriptor is open in the child,
        // because the closure keeps `inner` alive and close-on-exec acts only later.
        unsafe {
            command.pre_exec(move || Ok(setns(inner.network.as_fd(), CloneFlags::CLONE_NEWNET)?));
        }
        command
    }

    /// Starts a command made by [`Host::command`] that lives until its handle is dropped.
    pub fn start(&self, command: Command) -> io::Result<Process> {
        Process::start(command)
    }

    /// Runs `work` on a thread inside this host's network: sockets that it opens belong to the host,
    /// and stay there wherever they are used later.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<Result<T, LabError>> {
        let host = self.clone();
        std::thread::spawn(move || {
            setns(host.inner.network.as_fd(), CloneFlags::CLONE_NEWNET)
                .map_err(|e| LabError::Enter { host: host.name().into(), source: e.into() })?;
            Ok(work())
        })
    }

    /// As [`Host::spawn`], and waits for the result; a panic of `work` is one of the caller.
    pub fn enter<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, LabError> {
        self.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs what `make` makes to its end, on an async runtime of its own inside this host's network;
    /// `make` itself is called there too, so that it may open sockets and set timers.
    pub async fn run<T, F>(&self, make: impl FnOnce() -> F + Send + 'static) -> Result<T, LabError>
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let (answer, result) = tokio::sync::oneshot::channel();
        let host = self.clone();
        self.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            // A caller that gave up needs no answer.
            let _ = answer.send(runtime.map(|r| r.block_on(async { make().await })));
        });
        match result.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(LabError::Enter { host: host.name().into(), source }),
            Err(_) => Err(LabError::NoAnswer(host.name().into())),
        }
    }

    /// [`Host::run`] for callers without an async runtime.
    pub fn block_on<T, F>(&self, make: impl FnOnce() -> F + Send + 'static) -> Result<T, LabError>
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        let host = self.name().to_owned();
        self.enter(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|source| LabError::Enter { host, source })?;
            Ok(runtime.block_on(async { make().await }))
        })?
    }

    /// Sets a variable of `/proc/sys/net` in this host.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<(), LabError> {
        self.sysctls(vec![(key.into(), value.into())])
    }

    /// Sets several, in order. Keys as in `net.ipv4.ip_forward`, with `/` for a dot inside a name.
    pub fn sysctls(&self, pairs: Vec<(String, String)>) -> Result<(), LabError> {
        self.enter(move || {
            for (key, value) in pairs {
                let path = format!("/proc/sys/{}", key.replace('.', "/"));
                std::fs::write(&path, value).map_err(LabError::file("write", path))?;
            }
            Ok(())
        })?
    }
}
