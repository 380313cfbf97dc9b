//! `lbd lab-keeper`: runs a program so that nothing of it can outlive the lab.
//!
//! Mail servers fork, change their user and leave their session, and a process that changes its user is no
//! longer killed with its parent (prctl(2), PR_SET_PDEATHSIG). So each program gets a process namespace of
//! its own (pid_namespaces(7)): the keeper's child is the first process in it, stays root, and takes all
//! others along when it ends; the kernel sees to that.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe2};

/// A program's words are kept up to this size; then the file begins anew, since a lab may run for days.
const LOG_MAX: u64 = 1024 * 1024;

/// Runs a program of the lab; its words go to standard output, which is a file.
#[derive(Clone, Debug, clap::Args)]
pub struct KeeperArgs {
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// Returns when the program has ended. To be called while the process has only one thread.
pub fn keep(args: KeeperArgs) -> anyhow::Result<ExitCode> {
    let (watch, held) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    unshare(CloneFlags::CLONE_NEWPID).context("cannot make a process namespace")?;
    // SAFETY: this process has one thread, so that no lock can be held by another one at this moment.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            drop(watch);
            let status = waitpid(child, None)?;
            drop(held);
            Ok(code(status))
        }
        ForkResult::Child => {
            drop(held);
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the line above took effect: then the other end is closed.
            if nix::unistd::read(&watch, &mut [0]) != Err(Errno::EAGAIN) {
                return Ok(ExitCode::FAILURE);
            }
            drop(watch);
            first_process(&args.command)
        }
    }
}

/// Starts the program and buries whoever dies, until the program itself has ended.
fn first_process(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let (program, arguments) = words.split_first().context("no program is given")?;
    let (said, say) = io::pipe()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(say.try_clone()?).stderr(say);
    let child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
    drop(command);
    // SAFETY: standard output is open, since the lab gives every keeper a file, and nothing else uses it.
    let log = File::from(unsafe { OwnedFd::from_raw_fd(libc::STDOUT_FILENO) });
    std::thread::spawn(move || record(said, log));
    let leader = Pid::from_raw(child.id() as i32);
    loop {
        match waitpid(None, None) {
            Ok(status) if status.pid() == Some(leader) => return Ok(code(status)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the program"),
        }
    }
}

/// Copies what is said, and begins anew when there is too much of it.
fn record(mut said: impl Read, mut log: File) {
    let mut buffer = vec![0; 4096];
    let mut size = 0_u64;
    while let Ok(count @ 1..) = said.read(&mut buffer) {
        if size > LOG_MAX && log.set_len(0).is_ok() && log.rewind().is_ok() {
            size = 0;
        }
        // A full disk must not stop the program, which would wait for its words to be read.
        let _ = log.write_all(buffer.get(..count).unwrap_or_default());
        size = size.saturating_add(count as u64);
    }
}

fn code(status: WaitStatus) -> ExitCode {
    match status {
        WaitStatus::Exited(_, code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        WaitStatus::Signaled(_, signal, _) => ExitCode::from(128_u8.saturating_add(signal as u8)),
        _ => ExitCode::FAILURE,
    }
}
