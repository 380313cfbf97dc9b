//! An external command: a process group of its own, whose output is bounded, and which is ended as a whole.
//!
//! Each run has a thread, because starting a program can block: its file may be on a network disk that hangs.
//! The thread waits for the command's output, its end, and the other end of a pipe: when the probe drops that, the time is
//! up, and the group gets SIGTERM, and SIGKILL a little later.

use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use mio::{Token, Waker};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::executor::lock;
use super::probe::script::{self, End};
use crate::core::check::{Failure, FailureKind, Verdict};

/// Commands that run at once. Each is a thread and at least one process.
pub const RUNNING_MAX: usize = 32;
/// What is kept of the output, bytes; the first line is what is told. The rest is read and dropped, so that the
/// command does not stand still.
const OUTPUT_BYTES_MAX: usize = 4096;
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_millis(500);
/// A command that is cancelled is gone after this time, unless it hangs in the kernel.
pub const ENDED_WITHIN: Duration = Duration::from_millis(1000);
/// All of the environment that a command sees.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Commands that have ended, for the thread that asks. Bounded by those that run.
#[derive(Clone)]
pub struct Finished {
    list: Arc<Mutex<Vec<(Token, Verdict)>>>,
    waker: Arc<Waker>,
}

impl Finished {
    pub fn new(waker: Arc<Waker>) -> Self {
        Self { list: Arc::default(), waker }
    }

    pub fn take(&self) -> Vec<(Token, Verdict)> {
        std::mem::take(&mut *lock(&self.list))
    }
}

/// A command that runs. It is ended when this is dropped.
pub struct Running {
    _cancel: PipeWriter,
    output: Arc<Mutex<Vec<u8>>>,
    alive: Weak<()>,
}

impl Running {
    /// Starts a program, named by its absolute path, with its arguments. `token` comes back in `finished`.
    pub fn start(command: Vec<String>, token: Token, finished: &Finished) -> io::Result<Self> {
        let (cancelled, cancel) = io::pipe()?;
        let output = Arc::new(Mutex::default());
        let alive = Arc::new(());
        let running = Self { _cancel: cancel, output: output.clone(), alive: Arc::downgrade(&alive) };
        let finished = finished.clone();
        std::thread::Builder::new().name("lbd-script".into()).spawn(move || {
            let verdict = run(&command, &cancelled, &output).map_or_else(
                |failure| Some(Verdict::Failure(failure)),
                |end| end.map(|end| script::verdict(end, &lock(&output))),
            );
            drop(alive);
            if let Some(verdict) = verdict {
                lock(&finished.list).push((token, verdict));
                _ = finished.waker.wake();
            }
        })?;
        Ok(running)
    }

    /// Stays upgradable as long as the command, or what is left of it, is there.
    pub fn alive(&self) -> Weak<()> {
        self.alive.clone()
    }

    pub fn timed_out(&self) -> Failure {
        script::timed_out(&lock(&self.output))
    }
}

/// The failure of a target whose last run cannot be ended.
pub fn stuck() -> Verdict {
    let words = "the command cannot be ended: it hangs in the kernel (state D), as on a dead network disk";
    Verdict::failure(FailureKind::Hung, words)
}

/// Runs a command to its end; `None`: it was cancelled, and is gone with its group.
fn run(command: &[String], cancelled: &PipeReader, output: &Mutex<Vec<u8>>) -> Result<Option<End>, Failure> {
    let local = |words: String| Failure { kind: FailureKind::Local, words };
    let Some((program, arguments)) = command.split_first() else { return Err(local("no command is named".into())) };
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| local(format!("cannot start {}: {error}", super::probe::words::shown(program.as_bytes()))))?;
    let result = watch(&mut child, cancelled, output);
    // The leader is not reaped yet: until it is, its number is no other process's, nor the group's.
    if !matches!(result, Ok(true)) {
        signal(&child, Signal::SIGTERM);
        wait(&child, GRACE);
    }
    // What it has left behind goes with it.
    signal(&child, Signal::SIGKILL);
    let status = child.wait().map_err(|error| local(format!("the command was lost: {error}")))?;
    match result {
        Ok(true) => Ok(Some(end(status))),
        Ok(false) => Ok(None),
        Err(error) => Err(local(format!("the command could not be watched: {error}"))),
    }
}

fn end(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exited(code),
        (None, signal) => End::Killed(signal.unwrap_or(0)),
    }
}

fn signal(child: &Child, signal: Signal) {
    if let Ok(group) = i32::try_from(child.id()) {
        // Only fails when nobody is left.
        _ = killpg(Pid::from_raw(group), signal);
    }
}

/// Collects output until the command ends (`true`) or is cancelled (`false`).
fn watch(child: &mut Child, cancelled: &PipeReader, output: &Mutex<Vec<u8>>) -> io::Result<bool> {
    let process = process_fd(child)?;
    let mut stdout = child.stdout.take();
    if let Some(stdout) = &stdout {
        nix::fcntl::fcntl(stdout, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
    }
    loop {
        let mut watched =
            vec![PollFd::new(cancelled.as_fd(), PollFlags::empty()), PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        watched.extend(stdout.as_ref().map(|stdout| PollFd::new(stdout.as_fd(), PollFlags::POLLIN)));
        match poll(&mut watched, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => continue,
            result => result?,
        };
        let any = |index: usize| watched.get(index).and_then(PollFd::any).unwrap_or(false);
        let (is_cancelled, ended, said) = (any(0), any(1), any(2));
        if said && !stdout.as_mut().is_some_and(|stdout| take(stdout, output)) {
            stdout = None;
        }
        if is_cancelled {
            return Ok(false);
        }
        if ended {
            // What it said last. A grandchild may hold the pipe open: its words are not waited for.
            if let Some(mut stdout) = stdout {
                take(&mut stdout, output);
            }
            return Ok(true);
        }
    }
}

/// Reads what there is; `false`: there will be no more.
fn take(stdout: &mut ChildStdout, output: &Mutex<Vec<u8>>) -> bool {
    let mut buffer = [0; OUTPUT_BYTES_MAX];
    match stdout.read(&mut buffer) {
        Ok(0) => false,
        Ok(count) => {
            let mut output = lock(output);
            let room = OUTPUT_BYTES_MAX.saturating_sub(output.len());
            output.extend_from_slice(buffer.get(..count.min(room)).unwrap_or_default());
            true
        }
        Err(error) => matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    }
}

/// Waits so long at most for a command to end; it is not reaped.
fn wait(child: &Child, time: Duration) {
    let Ok(process) = process_fd(child) else { return };
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut watched = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        if !matches!(poll(&mut watched, timeout), Err(nix::errno::Errno::EINTR)) {
            return;
        }
    }
}

/// A descriptor that becomes readable when the process ends (pidfd_open(2), Linux 5.3).
fn process_fd(child: &Child) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two numbers and no memory.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(child.id()), 0 as libc::c_long) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made this descriptor, for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
