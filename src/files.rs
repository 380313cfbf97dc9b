//! Files that are replaced as a whole: after a crash it is the one before or the one behind, never half of either.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// For nobody but its owner, from the moment it is there.
const PRIVATE: u32 = 0o600;
/// As the system's mask has it.
const OPEN: u32 = 0o666;

/// Replaces a file, with the owner and the permissions of `like`.
pub fn replace(path: &Path, bytes: &[u8], like: Option<&fs::Metadata>) -> anyhow::Result<()> {
    written(path, bytes, if like.is_some() { PRIVATE } else { OPEN }, |file| {
        let Some(like) = like else { return Ok(()) };
        file.set_permissions(like.permissions())?;
        std::os::unix::fs::fchown(file, Some(like.uid()), Some(like.gid()))
    })
}

/// Replaces a file, for nobody but its owner to read.
pub fn replace_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    written(path, bytes, PRIVATE, |_| Ok(()))
}

/// Written beside, synced, renamed.
fn written(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    prepare: impl FnOnce(&File) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let unwritable = || format!("{} cannot be written", beside.display());
    // Of a run that died; what is opened here must have been made here, with its permissions.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(unwritable),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside).with_context(unwritable)?;
    prepare(&file)?;
    file.write_all(bytes).with_context(unwritable)?;
    file.sync_all()?;
    fs::rename(&beside, path).with_context(|| format!("{} cannot be replaced", path.display()))?;
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}
