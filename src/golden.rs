//! Files of the repository that tests hold against what they should be. After a change: `UPDATE_GOLDEN=1 cargo test`, then
//! read the diff.

use std::path::Path;

fn is_updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

/// Holds a file of the repository against what it should be.
pub fn hold(path: &Path, actual: &str) -> Result<(), String> {
    if is_updating() {
        std::fs::write(path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected == actual {
        return Ok(());
    }
    Err(format!("{} differs (UPDATE_GOLDEN=1 writes it anew); now it would be:\n{actual}", path.display()))
}
