//! A PC that runs programs from Debian packages: a network, and a file tree of its own.
//!
//! The tree is the machine's, with a few directories put in place of the system's (mount_namespaces(7)):
//! `/etc/courier`, `/var/mail`, `/run` and so on. So every program runs with the paths that it was built
//! with and a configuration as it would be written for it, and nothing of the real ones is touched. The
//! mounts exist in that namespace only, and go with its last process.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Gid, Uid, User, chown};

use super::program::Program;
use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::process::Process;

/// A program has this long to open its ports, on a machine that builds other things meanwhile.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// Programs find each other by this, and nothing else of the caller's environment.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What a program opens to be asked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    Tcp(u16),
    Udp(u16),
    /// A socket in the machine's file tree, by its path.
    File(&'static str),
}

#[derive(Debug)]
pub struct Machine {
    host: Host,
    /// What is here stands for a path of the system: `<dir>/etc/courier` for `/etc/courier`.
    dir: PathBuf,
    /// Its mount namespace, kept alive by this descriptor even while no program runs.
    mounts: Arc<File>,
    lbd: PathBuf,
    programs: BTreeMap<String, (Program, Vec<Port>)>,
}

impl Machine {
    /// `shared` are directories and where the machine has them; `replaced` those that it has for itself, below
    /// `dir`. `/run` comes besides and last, because the lab's own directory is in it. `lbd` is the program
    /// that keeps the others.
    pub fn new(
        host: &Host,
        dir: &Path,
        shared: &[(&Path, &str)],
        replaced: &[&str],
        lbd: &Path,
    ) -> Result<Self, LabError> {
        let mut binds: Vec<_> =
            shared.iter().map(|(source, path)| (source.to_path_buf(), PathBuf::from(path))).collect();
        for path in replaced.iter().copied().chain(["/run"]) {
            let own = dir.join(path.trim_start_matches('/'));
            fs::create_dir_all(&own).map_err(LabError::file("create", &own))?;
            binds.push((own, PathBuf::from(path)));
        }
        let work = move || -> Result<File, LabError> {
            unshare(CloneFlags::CLONE_NEWNS).map_err(|e| LabError::file("make a file tree for", "/")(e.into()))?;
            // Nothing that is mounted here may be seen outside.
            bind(None, Path::new("/"), MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
            for (own, path) in &binds {
                bind(Some(own), path, MsFlags::MS_BIND)?;
            }
            let namespace = "/proc/thread-self/ns/mnt";
            File::open(namespace).map_err(LabError::file("open", namespace))
        };
        let mounts = std::thread::spawn(work).join().map_err(|_| LabError::NoAnswer(host.name().into()))??;
        let (host, dir, lbd) = (host.clone(), dir.to_owned(), lbd.to_owned());
        Ok(Self { host, dir, mounts: Arc::new(mounts), lbd, programs: BTreeMap::new() })
    }

    pub fn name(&self) -> &str {
        self.host.name()
    }

    /// Where a path of the machine is in the real file tree.
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path.trim_start_matches('/'))
    }

    /// Writes a file of the machine, and its directory.
    pub fn write(&self, path: &str, text: &str) -> Result<(), LabError> {
        let own = self.path(path);
        if let Some(parent) = own.parent() {
            fs::create_dir_all(parent).map_err(LabError::file("create", parent))?;
        }
        fs::write(&own, text).map_err(LabError::file("write", own))
    }

    /// Makes a directory of the machine that belongs to a user.
    pub fn directory(&self, path: &str, owner: &str, mode: u32) -> Result<(), LabError> {
        let own = self.path(path);
        fs::create_dir_all(&own).map_err(LabError::file("create", &own))?;
        self.give(path, owner, mode)
    }

    /// Gives a file or directory of the machine to a user and his group.
    pub fn give(&self, path: &str, owner: &str, mode: u32) -> Result<(), LabError> {
        let own = self.path(path);
        let (uid, gid) = user(owner)?;
        fs::set_permissions(&own, Permissions::from_mode(mode)).map_err(LabError::file("set the mode of", &own))?;
        chown(&own, Some(uid), Some(gid)).map_err(|e| LabError::file("give away", &own)(e.into()))
    }

    /// Runs `work` on a thread in the machine's file tree (not in its network).
    pub fn in_tree<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, LabError> + Send + 'static,
    ) -> Result<T, LabError> {
        let (mounts, host) = (self.mounts.clone(), self.name().to_owned());
        let thread = std::thread::spawn(move || {
            // A thread that shares its working directory with others cannot change its tree.
            unshare(CloneFlags::CLONE_FS)
                .and_then(|()| setns(mounts.as_fd(), CloneFlags::CLONE_NEWNS))
                .map_err(|error| LabError::file("enter the file tree of", &host)(error.into()))?;
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// A command in the machine's network and file tree.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.host.command(program);
        let mounts = self.mounts.clone();
        // SAFETY: as in `Host::command`: setns(2) alone, on a descriptor that the closure keeps alive.
        unsafe {
            command.pre_exec(move || Ok(setns(mounts.as_fd(), CloneFlags::CLONE_NEWNS)?));
        }
        command.env_clear().env("PATH", PATH).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<(), LabError> {
        let line = arguments.join(" ");
        let output = self.command(program).args(arguments).output();
        let output = output.map_err(|source| LabError::NoProgram { program: program.into(), source })?;
        if output.status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(LabError::Program { program: program.into(), place: self.name().into(), line, stderr })
    }

    /// Starts a program that stays in the foreground; `name` is its own on this machine. [`Machine::ready`]
    /// waits for its ports.
    pub fn start(
        &mut self,
        name: &str,
        words: &[&str],
        environment: &[(&str, &str)],
        ports: &[Port],
    ) -> Result<(), LabError> {
        let log = self.dir.join(format!("{name}.log"));
        let output = File::create(&log).map_err(LabError::file("create", &log))?;
        let errors = output.try_clone().map_err(LabError::file("open", &log))?;
        let mut command = self.command(&self.lbd);
        command.arg("lab-keeper").arg("--").args(words).envs(environment.iter().copied());
        command.stdout(output).stderr(errors);
        let program = words.first().copied().unwrap_or_default().to_owned();
        let keeper = Process::start(command).map_err(|source| LabError::NoProgram { program, source })?;
        let title = format!("{name} on {}", self.name());
        self.programs.insert(name.into(), (Program::new(title, keeper, log), ports.to_vec()));
        Ok(())
    }

    /// Waits until every port of every program is open.
    pub fn ready(&mut self) -> Result<(), LabError> {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            for (program, _) in self.programs.values_mut() {
                program.runs()?;
            }
            let wanted = self.programs.values().flat_map(|(_, ports)| ports);
            let open = self.host.enter(open_ports)?.map_err(LabError::file("read", "/proc/net"))?;
            let is_open = |port: &Port| match port {
                Port::File(path) => self.path(path).exists(),
                port => open.contains(port),
            };
            let closed: Vec<_> = wanted.filter(|port| !is_open(port)).collect();
            if closed.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let what = format!("the servers on {}", self.name());
                return Err(LabError::NotStarted { what, why: format!("after {START_PATIENCE:?} closed: {closed:?}") });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn program(&self, name: &str) -> Result<&Program, LabError> {
        let missing = || LabError::NoHost(format!("{name} on {}", self.name()));
        self.programs.get(name).map(|(program, _)| program).ok_or_else(missing)
    }

    /// Kills a program with all of its processes.
    pub fn kill(&mut self, name: &str) -> Result<(), LabError> {
        self.program(name)?;
        self.programs.remove(name).map_or(Ok(()), |(program, _)| program.kill())
    }
}

/// mount(2) for a change of what is there already, or something in its place.
fn bind(source: Option<&Path>, target: &Path, flags: MsFlags) -> Result<(), LabError> {
    let result = mount(source, target, None::<&str>, flags, None::<&str>);
    result.map_err(|error| LabError::file("mount a directory of the lab at", target)(error.into()))
}

/// Number and group of a user that a package makes.
pub fn user(name: &str) -> Result<(Uid, Gid), LabError> {
    let found = User::from_name(name).map_err(|e| LabError::file("look up the user", name)(e.into()))?;
    let missing = || LabError::file("find the user", name)(io::Error::other("its Debian package is not installed"));
    found.map(|user| (user.uid, user.gid)).ok_or_else(missing)
}

/// What this network listens at.
fn open_ports() -> io::Result<Vec<Port>> {
    // States of /proc/net/tcp (proc(5)): 0A listens; an unconnected UDP socket has 07.
    type Table = (&'static str, &'static str, fn(u16) -> Port);
    let tables: [Table; 4] =
        [("tcp", "0A", Port::Tcp), ("tcp6", "0A", Port::Tcp), ("udp", "07", Port::Udp), ("udp6", "07", Port::Udp)];
    let mut open = Vec::new();
    for (table, listens, port) in tables {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{table}"))?;
        open.extend(text.lines().skip(1).filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (local, state) = (fields.next()?, fields.nth(1)?);
            let number = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
            (state == listens).then(|| port(number))
        }));
    }
    Ok(open)
}
