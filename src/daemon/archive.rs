//! Configuration files that were replaced: the last of them, by number.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::core::control::Saved;
use crate::files;

/// So many are kept.
const KEPT: usize = 10;
const ENDING: &str = ".yaml";

pub struct Archive {
    dir: PathBuf,
}

impl Archive {
    /// Below the state directory; made when something is put there.
    pub fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("archive") }
    }

    /// What there is, the oldest first.
    pub fn list(&self) -> std::io::Result<Vec<Saved>> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(ENDING)).and_then(|name| name.parse().ok());
            if let Some(number) = number {
                let until = entry.metadata()?.modified().map_or(0, super::control::unix);
                found.push(Saved { number, until });
            }
        }
        found.sort_by_key(|saved| saved.number);
        Ok(found)
    }

    pub fn file(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number}{ENDING}"))
    }

    /// Keeps one more, and forgets the oldest beyond those that are kept. Readable for its owner alone: a hand-written
    /// file may have been.
    pub fn keep(&self, bytes: &[u8]) -> anyhow::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let before = self.list()?;
        let number = before.last().map_or(1, |last| last.number.saturating_add(1));
        files::replace_private(&self.file(number), bytes)?;
        for old in before.iter().take((before.len() + 1).saturating_sub(KEPT)) {
            fs::remove_file(self.file(old.number))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ten_are_kept_under_numbers_that_never_come_again() {
        let dir = std::env::temp_dir().join(format!("lbd-archive-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let archive = Archive::new(&dir);
        assert_eq!(archive.list().unwrap(), []);
        for n in 1..=13 {
            archive.keep(format!("hostname: lb{n}\n").as_bytes()).unwrap();
        }
        let numbers: Vec<u64> = archive.list().unwrap().iter().map(|saved| saved.number).collect();
        assert_eq!(numbers, (4..=13).collect::<Vec<_>>());
        assert_eq!(fs::read_to_string(archive.file(4)).unwrap(), "hostname: lb4\n");
        fs::remove_dir_all(&dir).unwrap();
    }
}
