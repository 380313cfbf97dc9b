//! The configuration file, edited by the daemon: what has been drained for good is taken out of it, and what the other
//! box of a pair has changed is put in.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::compose::compose;
use crate::config::edit::{self, EditError};
use crate::config::{Config, Loaded, Refused, yaml};
use crate::core::admin::Subject;

use crate::files;

/// Why the file was left as it is; in words that an operator can act on.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("the configuration file has an error, and is left alone until it is repaired: {}", first(.0))]
    Broken(Refused),
    #[error(
        "{} has changes that are not in force yet; load them (SIGHUP, or POST /api/v1/config/reload) or take them back",
        path.display()
    )]
    NotInForce { path: PathBuf },
    #[error("{}: {error}", path.display())]
    Edit { path: PathBuf, error: EditError },
    #[error("{} was changed by somebody else at this moment", path.display())]
    Changed { path: PathBuf },
    #[error("{} cannot be written: {why}", path.display())]
    Unwritable { path: PathBuf, why: String },
}

/// The first error in one line; `lbd check` shows them all.
fn first(refused: &Refused) -> String {
    let Some(error) = refused.diagnostics.first() else { return refused.file.clone() };
    match (error.line, error.column) {
        (Some(line), Some(column)) => format!("{}:{line}:{column}: {}", refused.file, error.message),
        _ => format!("{}: {}", refused.file, error.message),
    }
}

/// An edit that has been found possible, not done yet.
#[derive(Debug)]
pub struct Replacement {
    path: PathBuf,
    before: Vec<u8>,
    after: String,
}

/// Works out the file without `subject`. Refused while the file differs from the configuration in
/// force, because loading it afterwards would bring into force what nobody has ordered to.
pub fn prepare(path: &Path, in_force: &Config, subject: &Subject) -> Result<Replacement, FileError> {
    let (loaded, path, before) = read(path, in_force)?;
    let name = path.display().to_string();
    match edit::without(&name, loaded.text(), subject.pool(), subject.server()) {
        Ok((after, _)) => Ok(Replacement { path, before, after }),
        Err(error) => Err(FileError::Edit { path, error }),
    }
}

/// Works out the file that says `config`, under the same condition.
pub fn prepare_copy(path: &Path, in_force: &Config, config: &Config) -> Result<Replacement, FileError> {
    let (loaded, path, before) = read(path, in_force)?;
    Ok(Replacement { after: compose(loaded.text(), in_force, config), path, before })
}

/// The file that is in force: what it says, where it is, and its bytes.
fn read(path: &Path, in_force: &Config) -> Result<(Loaded, PathBuf, Vec<u8>), FileError> {
    let unwritable = |error: std::io::Error| FileError::Unwritable { path: path.to_owned(), why: error.to_string() };
    let loaded = yaml::load(path).map_err(FileError::Broken)?;
    if loaded.config != *in_force {
        return Err(FileError::NotInForce { path: path.to_owned() });
    }
    // The file that is meant, where the name is a link.
    let path = fs::canonicalize(path).map_err(unwritable)?;
    let before = fs::read(&path).map_err(unwritable)?;
    if !before.ends_with(loaded.text().as_bytes()) {
        return Err(FileError::Changed { path });
    }
    Ok((loaded, path, before))
}

impl Replacement {
    /// What the file says until it is replaced.
    pub fn before(&self) -> &[u8] {
        &self.before
    }

    /// Replaces the file, and keeps the one before as FILE with `suffix`; its name. An editor that writes at the very
    /// moment between the last look and the rename loses: there is no lock that editors keep.
    pub fn write(&self, suffix: &str) -> Result<PathBuf, FileError> {
        let path = &self.path;
        let unwritable = |why: String| FileError::Unwritable { path: path.clone(), why };
        let like = fs::metadata(path).map_err(|error| unwritable(error.to_string()))?;
        let mut backup = path.as_os_str().to_owned();
        backup.push(suffix);
        let backup = PathBuf::from(backup);
        files::replace(&backup, &self.before, Some(&like)).map_err(|error| unwritable(format!("{error:#}")))?;
        if fs::read(path).map_err(|error| unwritable(error.to_string()))? != self.before {
            return Err(FileError::Changed { path: path.clone() });
        }
        files::replace(path, self.after.as_bytes(), Some(&like)).map_err(|error| unwritable(format!("{error:#}")))?;
        Ok(backup)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::Name;

    const FILE: &str = "# of lb1\ninterfaces: {ports: [eth0]}\nservers:\n  pc1: {address: 10.1.0.11}  # old\n  \
                        pc2: {address: 10.1.0.12}\npools:\n  relay: {members: [pc1, pc2]}\n";

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("lbd-configfile-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("lb.yaml"), FILE).unwrap();
            Self(dir)
        }

        fn file(&self) -> PathBuf {
            self.0.join("lb.yaml")
        }

        fn prepare(&self) -> Result<Replacement, FileError> {
            let config = yaml::parse("lb.yaml", FILE).unwrap().config;
            prepare(&self.file(), &config, &Subject::Server(Name::new("pc1").unwrap()))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_file_loses_the_server_and_nothing_else_and_the_one_before_is_kept() {
        let scratch = Scratch::new("kept");
        fs::set_permissions(scratch.file(), fs::Permissions::from_mode(0o640)).unwrap();
        let link = scratch.0.join("link.yaml");
        std::os::unix::fs::symlink("lb.yaml", &link).unwrap();
        let config = yaml::load(&link).unwrap().config;
        let removal = prepare(&link, &config, &Subject::Server(Name::new("pc1").unwrap())).unwrap();
        let backup = removal.write(".bak").unwrap();
        assert_eq!(fs::read_to_string(&backup).unwrap(), FILE);
        assert_eq!(backup.file_name().unwrap(), "lb.yaml.bak");
        let after = fs::read_to_string(scratch.file()).unwrap();
        assert_eq!(after, FILE.replace("  pc1: {address: 10.1.0.11}  # old\n", "").replace("pc1, ", ""));
        assert_eq!(fs::metadata(scratch.file()).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link still is one");
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 3, "nothing else is left behind");
    }

    #[test]
    fn what_the_other_box_has_is_put_in_and_the_rest_is_left_as_it_was_written() {
        let scratch = Scratch::new("copied");
        let in_force = yaml::load(&scratch.file()).unwrap().config;
        let mut copied = in_force.clone();
        copied.pools.values_mut().for_each(|pool| pool.members.truncate(1));
        let backup = prepare_copy(&scratch.file(), &in_force, &copied).unwrap().write(".before-copy").unwrap();
        assert_eq!(fs::read_to_string(&backup).unwrap(), FILE);
        let after = fs::read_to_string(scratch.file()).unwrap();
        let pools = "pools:\n  relay: {members: [pc1, pc2]}\n";
        assert_eq!(after, FILE.replace(pools, "pools:\n  relay:\n    members: [pc1]\n"));
        let refusal = prepare_copy(&scratch.file(), &in_force, &copied).unwrap_err().to_string();
        assert!(refusal.contains("not in force yet"), "{refusal}");
    }

    #[test]
    fn a_file_that_is_broken_or_not_in_force_is_left_alone() {
        let scratch = Scratch::new("refused");
        for (text, words) in [
            (FILE.replace("members", "mmbers"), "has an error"),
            (FILE.replace("10.1.0.12", "10.1.0.99"), "not in force yet"),
        ] {
            fs::write(scratch.file(), &text).unwrap();
            let refusal = scratch.prepare().unwrap_err().to_string();
            assert!(refusal.contains(words), "{refusal}");
            assert_eq!(fs::read_to_string(scratch.file()).unwrap(), text);
        }
        fs::remove_file(scratch.file()).unwrap();
        let refusal = scratch.prepare().unwrap_err().to_string();
        assert!(refusal.contains("cannot be read"), "{refusal}");
    }

    #[test]
    fn a_file_that_somebody_changes_meanwhile_is_left_alone() {
        let scratch = Scratch::new("meanwhile");
        let removal = scratch.prepare().unwrap();
        let other = FILE.replace("# old", "# older");
        fs::write(scratch.file(), &other).unwrap();
        let refusal = removal.write(".bak").unwrap_err().to_string();
        assert!(refusal.contains("changed by somebody else"), "{refusal}");
        assert_eq!(fs::read_to_string(scratch.file()).unwrap(), other);
    }
}
