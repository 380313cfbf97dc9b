//! Who owns which lab: `/run/lbd-lab/<id>.lock`, locked as long as its owner lives.
//!
//! The kernel releases a lock (flock(2)) when its holder dies, however it dies, so a file
//! that can be locked marks a lab to clear away. Unlike a process id it cannot come to
//! mean somebody else.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::error::LabError;

/// Where the labs' locks and files are.
pub const LABS: &str = "/run/lbd-lab";
/// Where `ip netns` keeps namespaces by name.
pub const NAMESPACES: &str = "/run/netns";

/// A claimed id; its namespaces and files are removed when it goes.
#[derive(Debug)]
pub struct Claim {
    id: String,
    /// Holds the lock.
    _lock: File,
}

impl Claim {
    /// Clears away every lab whose owner is dead, then claims an id of its own:
    /// `<pid>`, or `<pid>.<n>` for further labs of one process.
    pub fn new() -> Result<Self, LabError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(LabError::NotRoot);
        }
        static LABS_OF_THIS_PROCESS: AtomicU32 = AtomicU32::new(0);
        let number = LABS_OF_THIS_PROCESS.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let id = if number == 0 { pid.to_string() } else { format!("{pid}.{number}") };

        fs::create_dir_all(LABS).map_err(LabError::file("create", LABS))?;
        sweep()?;
        let path = lock_path(&id);
        let lock = loop {
            let file = File::create(&path).map_err(LabError::file("create", &path))?;
            file.lock().map_err(LabError::file("lock", &path))?;
            // A sweep that ran in between has unlinked what we hold: take a new one.
            if file.metadata().map_err(LabError::file("read", &path))?.nlink() > 0 {
                break file;
            }
        };
        let claim = Self { id, _lock: lock };
        let dir = claim.dir();
        fs::create_dir_all(&dir).map_err(LabError::file("create", &dir))?;
        Ok(claim)
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The lab's own files: `/run/lbd-lab/<id>`.
    pub fn dir(&self) -> PathBuf {
        Path::new(LABS).join(&self.id)
    }

    /// Name of a host's namespace, as `ip netns` knows it.
    pub fn namespace(&self, host: &str) -> String {
        format!("{}{host}", prefix(&self.id))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.id) {
            eprintln!("lbd lab: {error}; the next lab will try again to remove it");
            return;
        }
        // The lock is still held, so that nobody takes the file for a dead lab's.
        let _ = fs::remove_file(lock_path(&self.id));
    }
}

/// Clears away the labs whose owner is dead; says which.
pub fn sweep() -> Result<Vec<String>, LabError> {
    let mut swept = Vec::new();
    for name in names_in(Path::new(LABS))? {
        let Some(id) = name.strip_suffix(".lock") else { continue };
        let path = lock_path(id);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(LabError::file("open", path)(error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(LabError::file("lock", path)(error)),
        }
        // Another sweep may have removed it, and its id be in use again, before we had the lock.
        if file.metadata().map_err(LabError::file("read", &path))?.nlink() == 0 {
            continue;
        }
        clear(id)?;
        fs::remove_file(&path).map_err(LabError::file("remove", &path))?;
        swept.push(id.to_owned());
    }
    Ok(swept)
}

fn prefix(id: &str) -> String {
    format!("lbd-{id}-")
}

fn lock_path(id: &str) -> PathBuf {
    Path::new(LABS).join(format!("{id}.lock"))
}

/// The namespaces of a lab that exist now.
pub fn namespaces_of(id: &str) -> Result<Vec<PathBuf>, LabError> {
    let prefix = prefix(id);
    let names = names_in(Path::new(NAMESPACES))?;
    Ok(names.into_iter().filter(|n| n.starts_with(&prefix)).map(|n| Path::new(NAMESPACES).join(n)).collect())
}

/// Ends the processes, then removes namespaces, mounts, pins and files of one lab.
fn clear(id: &str) -> Result<(), LabError> {
    let namespaces = namespaces_of(id)?;
    end_processes_in(&namespaces)?;
    for path in &namespaces {
        // A namespace of which only the file was made is not mounted.
        let _ = umount2(path, MntFlags::MNT_DETACH);
        fs::remove_file(path).map_err(LabError::file("remove", path))?;
    }
    let dir = Path::new(LABS).join(id);
    let mut mounts = mounts_below(&dir)?;
    mounts.reverse();
    for mount in mounts {
        // Pins go with the last mount of their bpffs, unless another mount holds it: remove them by name.
        if let Ok(names) = names_in(&mount) {
            for name in names {
                let path = mount.join(name);
                let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            }
        }
        umount2(&mount, MntFlags::MNT_DETACH).map_err(|e| LabError::file("unmount", &mount)(e.into()))?;
    }
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LabError::file("remove", dir)(error)),
        _ => Ok(()),
    }
}

/// SIGKILL to every other process whose network is one of these; waits for their end.
fn end_processes_in(namespaces: &[PathBuf]) -> Result<(), LabError> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let pids = processes_in(namespaces)?;
        if pids.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let why = format!("still alive after SIGKILL: {pids:?}");
            return Err(LabError::file("end the processes in", NAMESPACES)(io::Error::other(why)));
        }
        for pid in pids {
            // One that has ended meanwhile is as we want it.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processes, other than ours, whose network is one of these.
pub fn processes_in(namespaces: &[PathBuf]) -> Result<Vec<i32>, LabError> {
    let networks: Vec<(u64, u64)> =
        namespaces.iter().filter_map(|path| fs::metadata(path).ok()).map(|m| (m.dev(), m.ino())).collect();
    if networks.is_empty() {
        return Ok(Vec::new());
    }
    let own = std::process::id() as i32;
    let pids = names_in(Path::new("/proc"))?.into_iter().filter_map(|name| name.parse::<i32>().ok());
    Ok(pids
        .filter(|pid| *pid != own)
        .filter(|pid| {
            // A process that has ended, or a zombie, has no network any more.
            fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|m| networks.contains(&(m.dev(), m.ino())))
        })
        .collect())
}

/// Mount points in `dir` and below, parents first.
fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>, LabError> {
    let table = "/proc/self/mountinfo";
    let text = fs::read_to_string(table).map_err(LabError::file("read", table))?;
    // Field five is the mount point (proc(5)); ours contain nothing that would be escaped.
    Ok(text.lines().filter_map(|l| l.split(' ').nth(4)).map(PathBuf::from).filter(|p| p.starts_with(dir)).collect())
}

/// Names in a directory; none when it does not exist.
fn names_in(dir: &Path) -> Result<Vec<String>, LabError> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(LabError::file("list", dir)(error)),
    }
}

/// The labs whose owner lives.
pub fn living() -> Result<Vec<String>, LabError> {
    let mut living = Vec::new();
    for name in names_in(Path::new(LABS))? {
        let Some(id) = name.strip_suffix(".lock") else { continue };
        let locked = File::open(lock_path(id)).is_ok_and(|f| matches!(f.try_lock(), Err(TryLockError::WouldBlock)));
        if locked {
            living.push(id.to_owned());
        }
    }
    Ok(living)
}
