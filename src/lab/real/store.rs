//! The mail store: one Maildir for each account in a directory that all PCs share, as by NFS, and what can
//! befall a PC's mount of it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::chown;

use super::machine::{Machine, user};
use crate::lab::error::LabError;

/// Where every PC has it.
pub const MAIL: &str = "/var/mail";
/// Who owns the mail; of every Debian.
pub const OWNER: &str = "mail";
/// An empty directory of every PC, that stands for a store that is not there.
pub const NOTHING: &str = "/run/no-store";

/// Who has a mailbox.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    pub user: &'static str,
    pub password: &'static str,
    /// For crypt(3): cheap to verify, since these passwords are no secret.
    pub hash: &'static str,
}

/// A customer who reads his mail.
pub const ALICE: Account = Account { user: "alice", password: "wonderland", hash: "$1$lbdlab$1xFhzLStheqNGswU95vDN/" };
/// A customer who only gets mail: what the customers' loops send does not fill the mailboxes that they read.
pub const CAROL: Account = Account { user: "carol", password: "christmas", hash: "$1$lbdlab$7GQf0hnEI2s4esU7cQBa41" };
/// The balancer's own account, that its probes log in with.
pub const PROBE: Account =
    Account { user: "probe", password: "is-anybody-there", hash: "$1$lbdlab$tuhkXQCqfPudX/34BYdsO0" };

pub const ACCOUNTS: [Account; 3] = [ALICE, CAROL, PROBE];

/// Makes the store with an empty mailbox for each account.
pub fn create(dir: &Path) -> Result<(), LabError> {
    let (uid, gid) = user(OWNER)?;
    let mut builder = DirBuilder::new();
    builder.mode(0o755);
    let give =
        |path: PathBuf| chown(&path, Some(uid), Some(gid)).map_err(|e| LabError::file("give away", path)(e.into()));
    fs::create_dir_all(dir).map_err(LabError::file("create", dir))?;
    fs::set_permissions(dir, Permissions::from_mode(0o755)).map_err(LabError::file("set the mode of", dir))?;
    give(dir.to_owned())?;
    for account in ACCOUNTS {
        let maildir = dir.join(account.user);
        for path in ["", "cur", "new", "tmp"].map(|part| maildir.join(part)) {
            builder.create(&path).map_err(LabError::file("create", &path))?;
            give(path)?;
        }
    }
    Ok(())
}

/// What stands in the way of a machine's store, until [`Trouble::end`].
#[derive(Debug)]
pub struct Trouble {
    /// The other end of the file system that answers nothing. When it is closed, whoever waits gets an error.
    _fuse: Option<File>,
}

impl Trouble {
    /// The store is moved away: in its place is an empty directory.
    pub fn moved_away(machine: &Machine) -> Result<Self, LabError> {
        over_mail(machine, NOTHING, None, MsFlags::MS_BIND, String::new())?;
        Ok(Self { _fuse: None })
    }

    /// The store blocks: whoever touches it waits in the kernel (state D), as for a dead NFS server.
    ///
    /// It is a FUSE file system whose server, we, reads no request. The wait can be killed, as one for NFS can
    /// (TASK_KILLABLE), and ends at the latest with this process, when the kernel closes `/dev/fuse`.
    pub fn blocked(machine: &Machine) -> Result<Self, LabError> {
        let device = "/dev/fuse";
        let fuse = OpenOptions::new().read(true).write(true).open(device).map_err(LabError::file("open", device))?;
        // Directory, for all users (fuse(4)).
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", fuse.as_raw_fd());
        over_mail(machine, "lbd-blocked", Some("fuse"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, options)?;
        Ok(Self { _fuse: Some(fuse) })
    }

    /// The store is there again.
    pub fn end(self, machine: &Machine) -> Result<(), LabError> {
        machine.in_tree(|| {
            umount2(MAIL, MntFlags::MNT_DETACH).map_err(|error| LabError::file("unmount", MAIL)(error.into()))
        })
    }
}

/// Mounts over whatever is at [`MAIL`].
fn over_mail(
    machine: &Machine,
    source: &'static str,
    kind: Option<&'static str>,
    flags: MsFlags,
    options: String,
) -> Result<(), LabError> {
    machine.in_tree(move || {
        mount(Some(source), MAIL, kind, flags, Some(options.as_str()))
            .map_err(|error| LabError::file("mount", MAIL)(error.into()))
    })
}
