//! A program under its keeper, and all of its processes, wherever they have gone.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::error::LabError;
use crate::lab::process::{Process, ending};

/// All processes of a program have stopped, or are gone, within this time.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(5);
/// Lines of a program's last words that go into an error.
const LAST_WORDS: usize = 15;

/// Ends, with everything that it has started, when it is dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    keeper: Process,
    log: PathBuf,
}

impl Program {
    pub fn new(name: String, keeper: Process, log: PathBuf) -> Self {
        Self { name, keeper, log }
    }

    /// An error with its last words, if it has ended.
    pub fn runs(&mut self) -> Result<(), LabError> {
        let status = self.keeper.ended().map_err(LabError::file("watch", &self.log))?;
        let Some(status) = status else { return Ok(()) };
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(LAST_WORDS)..).unwrap_or_default().join("\n");
        let why = format!("{}; its last words:\n{tail}", ending(status));
        Err(LabError::NotStarted { what: self.name.clone(), why })
    }

    /// Kills all of its processes; returns when they are gone.
    pub fn kill(mut self) -> Result<(), LabError> {
        let namespace = self.namespace();
        self.keeper.kill().map_err(LabError::file("end", &self.log))?;
        self.wait_until("ended", || processes_in(namespace).iter().all(|pid| state_of(*pid).is_none_or(|s| s == 'Z')))
    }

    /// Stops all of its processes (SIGSTOP) as a machine hangs: ports stay open, nobody answers.
    pub fn freeze(&self) -> Result<(), LabError> {
        // One that is being forked while we look is found by the next look.
        let stopped = |pid: &i32| state_of(*pid).is_none_or(|state| matches!(state, 'T' | 't' | 'Z' | 'X'));
        self.wait_until("stopped", || {
            let running: Vec<i32> = processes_in(self.namespace()).into_iter().filter(|pid| !stopped(pid)).collect();
            // One that has ended meanwhile is as we want it.
            running.iter().for_each(|pid| _ = kill(Pid::from_raw(*pid), Signal::SIGSTOP));
            running.is_empty()
        })
    }

    /// Ends [`Program::freeze`].
    pub fn thaw(&self) {
        for pid in processes_in(self.namespace()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
        }
    }

    /// The processes that it consists of now.
    pub fn processes(&self) -> Vec<i32> {
        processes_in(self.namespace())
    }

    /// Of its processes; `None` before the first of them exists.
    fn namespace(&self) -> Option<(u64, u64)> {
        identity(&format!("/proc/{}/ns/pid_for_children", self.keeper.pid()))
    }

    fn wait_until(&self, what: &str, so: impl Fn() -> bool) -> Result<(), LabError> {
        let deadline = Instant::now() + SIGNAL_PATIENCE;
        while !so() {
            if Instant::now() > deadline {
                let why = io::Error::other(format!("not {what} after {SIGNAL_PATIENCE:?}: {:?}", self.processes()));
                return Err(LabError::file("signal the program of", &self.log)(why));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

fn identity(path: &str) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

fn processes_in(namespace: Option<(u64, u64)>) -> Vec<i32> {
    let Some(namespace) = namespace else { return Vec::new() };
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| identity(&format!("/proc/{pid}/ns/pid")) == Some(namespace)).collect()
}

/// The letter of proc(5), `S` for sleeping; `None` for a process that is gone.
pub fn state_of(pid: i32) -> Option<char> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may contain anything, brackets too.
    text.rsplit_once(") ")?.1.chars().next()
}
