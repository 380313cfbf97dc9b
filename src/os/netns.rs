//! Network namespaces: where the current thread is, and how it goes elsewhere.
//!
//! A namespace belongs to a thread, not to the process, and a socket stays in
//! the one in which it was opened. So: enter on a thread of its own, and let a
//! runtime that is to work there be of the current-thread kind. `setns` changes
//! the network alone; `ip netns exec` also makes a private mount namespace, in
//! which a mounted bpffs dies with the command (see docs/dataplane.md).

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};

use super::OsError;

/// Where `ip netns` keeps the names.
const NAMES: &str = "/run/netns";
/// Of the thread that asks.
const CURRENT: &str = "/proc/thread-self/ns/net";

/// Moves the current thread into a network namespace, named as `ip netns` does
/// or by a path (which has a '/'), such as `/proc/1/ns/net`.
pub fn enter(name_or_path: &str) -> Result<(), OsError> {
    let path = locate(name_or_path);
    let file = File::open(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => OsError::NoNamespace { path: path.clone() },
        _ => OsError::from_io(path.display().to_string(), "SYS_ADMIN", source),
    })?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|errno| match errno {
        nix::errno::Errno::EINVAL => OsError::NotANamespace { path: path.clone() },
        _ => OsError::from_io(format!("entering {}", path.display()), "SYS_ADMIN", errno.into()),
    })
}

/// The inode of the current thread's network namespace: the same number, the same namespace.
pub fn current_inode() -> Result<u64, OsError> {
    inode(Path::new(CURRENT))
}

/// The inode of a namespace by name or path, to compare with [`current_inode`].
pub fn inode_of(name_or_path: &str) -> Result<u64, OsError> {
    inode(&locate(name_or_path))
}

fn inode(path: &Path) -> Result<u64, OsError> {
    std::fs::metadata(path).map(|data| data.ino()).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => OsError::NoNamespace { path: path.to_owned() },
        _ => OsError::Io { what: path.display().to_string(), source },
    })
}

fn locate(name_or_path: &str) -> PathBuf {
    if name_or_path.contains('/') { name_or_path.into() } else { Path::new(NAMES).join(name_or_path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_where_ip_netns_keeps_it_and_a_path_is_taken_as_it_is() {
        assert_eq!(locate("lb1"), Path::new("/run/netns/lb1"));
        assert_eq!(locate("/proc/1/ns/net"), Path::new("/proc/1/ns/net"));
    }

    #[test]
    fn a_namespace_that_does_not_exist_is_named_in_the_error() {
        let error = enter("lbd-no-such-namespace").unwrap_err();
        assert_eq!(
            error.to_string(),
            "/run/netns/lbd-no-such-namespace: no such network namespace; `ip netns` shows those with a name"
        );
    }

    #[test]
    fn the_current_namespace_has_one_inode_on_every_thread_that_did_not_leave_it() {
        let here = current_inode().unwrap();
        let there = std::thread::spawn(|| current_inode().unwrap()).join().unwrap();
        assert_eq!(here, there);
    }
}
