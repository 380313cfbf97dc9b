//! The key by which clients know this box again: made at the first start, kept from then on.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use zeroize::Zeroizing;

use crate::files;

/// Name of the file in the state directory, in OpenSSH's own form.
const FILE: &str = "ssh_host_ed25519_key";

/// The key of this box; a new one where there is none.
pub fn open(state_dir: &Path) -> anyhow::Result<PrivateKey> {
    let path = state_dir.join(FILE);
    match fs::metadata(&path) {
        Ok(metadata) => {
            if metadata.permissions().mode() & 0o077 != 0 {
                bail!("{} may be read by others than root; chmod 600 it, or remove it for a new key", path.display());
            }
            let text = Zeroizing::new(fs::read_to_string(&path).with_context(|| path.display().to_string())?);
            let key = PrivateKey::from_openssh(text.as_str());
            key.with_context(|| format!("{} is no private key; remove it for a new one", path.display()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => make(&path),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// A new key at this path, which root alone may read.
pub fn make(path: &Path) -> anyhow::Result<PrivateKey> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
    let text = key.to_openssh(LineEnding::LF)?;
    // Whole or not at all: half a key would keep the listener shut for good.
    files::replace_private(path, text.as_bytes())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_root_alone_may_read_it() {
        let dir = std::env::temp_dir().join(format!("lbd-hostkey-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let first = open(&dir).unwrap();
        assert_eq!(open(&dir).unwrap().public_key(), first.public_key());
        let path = dir.join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(open(&dir).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "half a ke").unwrap();
        assert!(open(&dir).unwrap_err().to_string().contains("remove it"));
        fs::remove_dir_all(&dir).unwrap();
    }
}
