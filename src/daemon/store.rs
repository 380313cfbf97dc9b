//! What the daemon keeps on disk: one instance a run directory, the administrative state, and the archive.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};

use super::archive::Archive;
use crate::core::admin::Admin;
use crate::files;
use crate::os::clock;

/// The directories of one daemon; holds the lock of its run directory.
pub struct Store {
    admin: PathBuf,
    pub archive: Archive,
    _lock: Flock<File>,
}

impl Store {
    /// Makes the directories and takes the lock; refuses if another daemon has it.
    pub fn open(state_dir: &Path, run_dir: &Path) -> anyhow::Result<Self> {
        for dir in [state_dir, run_dir] {
            fs::create_dir_all(dir).with_context(|| {
                let root = if nix::unistd::geteuid().is_root() { "" } else { "; lbd must run as root" };
                format!("{} cannot be made{root}", dir.display())
            })?;
        }
        let archive = Archive::new(state_dir);
        Ok(Self { admin: state_dir.join("admin.json"), archive, _lock: lock(run_dir)? })
    }

    /// The administrative state of the last run; none if there was none.
    pub fn admin(&self) -> anyhow::Result<Admin> {
        match fs::read_to_string(&self.admin) {
            Ok(text) => Admin::from_json(&text, clock::calendar()).with_context(|| self.admin.display().to_string()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Admin::default()),
            Err(e) => Err(e).with_context(|| self.admin.display().to_string()),
        }
    }

    /// Keeps the administrative state.
    pub fn keep_admin(&self, admin: &Admin) -> anyhow::Result<()> {
        files::replace(&self.admin, admin.to_json()?.as_bytes(), None)
    }
}

/// Takes the lock of a run directory; refuses if a daemon has it.
pub fn lock(run_dir: &Path) -> anyhow::Result<Flock<File>> {
    let path = run_dir.join("lock");
    let file = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::Error::EWOULDBLOCK)) => {
            bail!("another lbd runs with {}; stop it, or name another `--run-dir`", run_dir.display())
        }
        Err((_, errno)) => bail!("{} cannot be locked: {errno}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Name;
    use crate::core::admin::AdminState;
    use crate::core::moment::Moment;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("lbd-store-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn a_drain_survives_a_restart() {
        let dir = scratch("drain");
        let pc2 = Name::new("pc2").unwrap();
        {
            let store = Store::open(&dir, &dir).unwrap();
            let mut admin = store.admin().unwrap();
            admin.set(&pc2, AdminState::Draining, Moment::default());
            store.keep_admin(&admin).unwrap();
        }
        assert_eq!(Store::open(&dir, &dir).unwrap().admin().unwrap().of_server(&pc2), AdminState::Draining);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_second_daemon_in_the_same_run_directory_is_refused() {
        let dir = scratch("lock");
        let _first = Store::open(&dir, &dir).unwrap();
        let refusal = Store::open(&dir, &dir).err().unwrap().to_string();
        assert!(refusal.contains("another lbd runs with"), "{refusal}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
