//! Types at the boxes' command line, by OpenSSH, and reads what is answered.

use std::io::{Read, Write};
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::operator::Operator;
use super::process::Process;
use super::site::Site;

/// A login, or a command, has this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// No answer that is typed for is longer.
const ANSWER_MAX: usize = 1024 * 1024;

/// What was typed at which prompt, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    pub prompt: String,
    pub typed: String,
    pub answer: Vec<String>,
}

impl Exchange {
    /// The line as it stands on the screen.
    pub fn line(&self) -> String {
        format!("{}{}", self.prompt, self.typed)
    }

    /// It was refused, and says so in IOS's way.
    pub fn is_refused(&self) -> bool {
        self.answer.iter().any(|line| line.starts_with('%'))
    }
}

/// A session, at its prompt.
#[derive(Debug)]
pub struct Typist {
    keys: ChildStdin,
    screen: Receiver<Vec<u8>>,
    hostname: String,
    prompt: String,
    // Last: the session ends with it.
    _ssh: Process,
}

impl Typist {
    /// Logs in to a box, whose name is also that in its prompt.
    pub fn log_in(site: &Site, operator: &Operator, name: &str) -> anyhow::Result<Self> {
        let (seat, mut command) = operator.command(site, name)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut ssh = seat.start(command).context("cannot run ssh (install the Debian package openssh-client)")?;
        let keys = ssh.take_stdin().context("ssh has no input")?;
        let mut stdout = ssh.take_stdout().context("ssh has no output")?;
        // Who types is never more than an answer ahead of who reads.
        let (shown, screen) = mpsc::sync_channel(16);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                if shown.send(buffer.get(..count).unwrap_or_default().to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut typist = Self { keys, screen, hostname: name.into(), prompt: String::new(), _ssh: ssh };
        typist.until_prompt().with_context(|| format!("logging in to {name}"))?;
        // Answers are whole, whatever their length.
        typist.types("terminal length 0")?;
        Ok(typist)
    }

    /// Types a line, and reads until the next prompt.
    pub fn types(&mut self, line: &str) -> anyhow::Result<Exchange> {
        let prompt = self.prompt.clone();
        self.keys.write_all(format!("{line}\r").as_bytes()).with_context(|| format!("typing {line:?}"))?;
        let shown = self.until_prompt().with_context(|| format!("after {line:?}"))?;
        // The first line is the echo.
        let (echo, answer) = shown.split_once('\n').unwrap_or((&shown, ""));
        ensure!(echo == line, "{line:?} was typed, and {echo:?} shown");
        Ok(Exchange { prompt, typed: line.into(), answer: answer.lines().map(str::to_owned).collect() })
    }

    /// What is shown before the next prompt, which is kept.
    fn until_prompt(&mut self) -> anyhow::Result<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut shown = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => shown.extend(bytes),
                Err(why) => {
                    let why = if why == RecvTimeoutError::Timeout { "no prompt in time" } else { "the session ended" };
                    bail!("{why}; so far: {}", String::from_utf8_lossy(&shown));
                }
            }
            ensure!(shown.len() <= ANSWER_MAX, "an answer without an end");
            let text = String::from_utf8_lossy(&shown).replace('\r', "");
            let (before, last) = text.rsplit_once('\n').map_or(("", text.as_str()), |(before, last)| (before, last));
            if is_prompt(last, &self.hostname) {
                last.clone_into(&mut self.prompt);
                return Ok(before.to_owned());
            }
        }
    }
}

/// `lb1#`, `lb1>`, `lb1(config-rs-pc1)#`.
fn is_prompt(line: &str, hostname: &str) -> bool {
    let Some(rest) = line.strip_prefix(hostname).and_then(|rest| rest.strip_suffix(['#', '>'])) else { return false };
    rest.is_empty() || (rest.starts_with('(') && rest.ends_with(')'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_told_from_a_line_that_is_typed_or_answered() {
        for prompt in ["lb1#", "lb1>", "lb1(config)#", "lb1(config-rs-pc1)#"] {
            assert!(is_prompt(prompt, "lb1"), "{prompt}");
        }
        for other in ["", "lb1", "lb1#show version", "lb1(config", "lb2#", "lb1 uptime is 3s#", "# a comment #"] {
            assert!(!is_prompt(other, "lb1"), "{other}");
        }
    }
}
