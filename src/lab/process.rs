//! Child processes that cannot outlive the lab: killed when their handle goes, and
//! killed by the kernel when the lab's process dies in any other way.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a process gets to end by itself after SIGTERM.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Makes the child die with this process (PR_SET_PDEATHSIG, prctl(2)) and keeps a Ctrl-C at
/// the terminal for the lab alone, which ends its children in order.
///
/// The kernel watches the *thread* that forks, so a child that shall live longer than its
/// caller's thread is started by [`Process::start`].
pub fn tie_to_this_process(command: &mut Command) {
    let parent = std::process::id();
    command.process_group(0);
    // SAFETY: between fork and exec only prctl, getppid and raise-like returns happen: all are
    // async-signal-safe, nothing allocates, and no lock of the parent is touched.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The parent may have died before the line above took effect.
            if nix::unistd::getppid().as_raw() as u32 != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

/// A running child.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command`, already tied by [`tie_to_this_process`], from a thread that lives as long as the program.
    pub fn start(command: Command) -> io::Result<Self> {
        type Order = (Command, mpsc::SyncSender<io::Result<Child>>);
        static STARTER: OnceLock<mpsc::SyncSender<Order>> = OnceLock::new();
        let starter = STARTER.get_or_init(|| {
            let (orders, queue) = mpsc::sync_channel::<Order>(16);
            std::thread::spawn(move || {
                for (mut command, answer) in queue {
                    // A caller that gave up waiting needs no answer.
                    let _ = answer.send(command.spawn());
                }
            });
            orders
        });
        let gone = || io::Error::other("the thread that starts processes has ended");
        let (answer, result) = mpsc::sync_channel(1);
        starter.send((command, answer)).map_err(|_| gone())?;
        Ok(Self { child: result.recv().map_err(|_| gone())?? })
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The child's side of a pipe, if its standard output was piped; once.
    pub fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// The child's side of a pipe, if its standard input was piped; once.
    pub fn take_stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill(Pid::from_raw(self.pid()), signal)?)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// SIGTERM; SIGKILL after five seconds.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        if self.ended()?.is_none() {
            self.signal(Signal::SIGTERM)?;
        }
        let deadline = Instant::now() + END_PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to tell of an error, and a child that is gone already is what we want.
        let _ = self.kill();
    }
}

/// How a process ended, in words.
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".into(),
    }
}

/// As many open files as this process may have: a shell's usual 1,024 are few for a thousand connections.
pub fn raise_file_limit() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}
