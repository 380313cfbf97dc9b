//! Which life of which boot this is: counters on disk, so that old heartbeats are known as such.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::files;
use crate::os::clock;
use crate::pair::heartbeat::Incarnation;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counters {
    boot: u32,
    start: u32,
}

/// The next incarnation, kept before it is used. `goes_on`: the data plane of this boot was found, so that
/// only the daemon is new.
pub fn next(state_dir: &Path, goes_on: bool) -> anyhow::Result<Incarnation> {
    let path = state_dir.join("incarnation.json");
    let before = match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{} cannot be read as the counters of starts; if it is lost, remove it while the other box is stopped",
                path.display()
            )
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => first(),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let next = after(before, goes_on);
    files::replace(&path, &serde_json::to_vec(&next)?, None)?;
    Ok(Incarnation { boot: next.boot, start: next.start })
}

/// The newest life of the peer that this box has heard: older ones are replayed. None was heard: any will do.
pub fn of_peer(state_dir: &Path) -> Incarnation {
    let kept = std::fs::read(peer_file(state_dir)).ok();
    // A file that cannot be read costs a protection, and must not cost the pair.
    let Counters { boot, start } = kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    Incarnation { boot, start }
}

/// Keeps it for the next start.
pub fn keep_of_peer(state_dir: &Path, life: Incarnation) -> anyhow::Result<()> {
    let counters = Counters { boot: life.boot, start: life.start };
    files::replace(&peer_file(state_dir), &serde_json::to_vec(&counters)?, None)
}

fn peer_file(state_dir: &Path) -> std::path::PathBuf {
    state_dir.join("peer-incarnation.json")
}

/// A box that has lost its counters, or replaces another one, must begin above them: no box starts once a second.
fn first() -> Counters {
    Counters { boot: u32::try_from(clock::calendar().0.as_secs()).unwrap_or(0), start: 0 }
}

fn after(before: Counters, goes_on: bool) -> Counters {
    if goes_on {
        Counters { start: before.start.saturating_add(1), ..before }
    } else {
        Counters { boot: before.boot.saturating_add(1), start: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_is_newer_than_the_one_before_and_each_boot_than_all_its_starts() {
        let dir = std::env::temp_dir().join(format!("lbd-incarnation-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let lives: Vec<_> = [false, true, true, false, true].map(|goes_on| next(&dir, goes_on).unwrap()).into();
        assert!(lives.is_sorted_by(|a, b| a < b), "{lives:?}");
        assert_eq!(of_peer(&dir), Incarnation::default());
        keep_of_peer(&dir, Incarnation { boot: 3, start: 9 }).unwrap();
        assert_eq!(of_peer(&dir), Incarnation { boot: 3, start: 9 });
        std::fs::write(dir.join("incarnation.json"), "{").unwrap();
        assert!(next(&dir, true).unwrap_err().to_string().contains("while the other box is stopped"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
