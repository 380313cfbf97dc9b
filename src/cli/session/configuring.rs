//! A session in which the configuration is typed.
//!
//! Each line acts at once. Lines that come together, as a paste does, are put in force together, because a whole
//! configuration is checked each time; a line that is wrong is still refused alone, and its error stands behind it.
//!
//! ```text
//!   lines ──Draft──> tree ──Running::read──> Running ──configure, with its revision──> in force
//!                                                              └── changed meanwhile: once more, of what is true now
//! ```

use std::io;
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::task::block_in_place;

use super::{Refusal, Session};
use crate::cli::commands;
use crate::cli::grammar::matcher::{Help, NoMatch, Objects, begins};
use crate::cli::notation::{Draft, Next, Place};
use crate::config::Running;
use crate::core::control::editing::told;
use crate::core::control::{Change, ConfigError, ConfigOrder, Control, Editor as By};

/// Lines that are put in force together.
const TOGETHER: usize = 256;
/// Others who change the configuration at the same moment let this one begin again so many times.
const TRIES: usize = 100;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Configuring {
    place: Place,
    /// Lines that have not acted yet, each with what was shown of it.
    waiting: Vec<Typed>,
}

#[derive(Debug)]
struct Typed {
    echo: Vec<u8>,
    line: String,
    /// Nothing else was typed with the same key: a prompt follows.
    is_last: bool,
}

/// Why a line was not taken.
#[derive(Clone, Debug, PartialEq)]
enum Why {
    NotUnderstood(NoMatch),
    Refused(String),
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    result: Result<Next, Why>,
    /// Where the next line is typed.
    place: Place,
}

impl Configuring {
    pub fn shown(&self) -> String {
        self.place.shown()
    }

    pub fn help(&self, line: &str, level: u8, objects: &dyn Objects) -> Result<Help, NoMatch> {
        match behind_do(line) {
            Some(line) => commands::grammar(level).help(line, objects),
            None => self.place.help(line, objects),
        }
    }

    pub fn complete(&self, line: &str, level: u8, objects: &dyn Objects) -> String {
        match behind_do(line) {
            Some(line) => commands::grammar(level).complete(line, objects),
            None => self.place.complete(line, objects),
        }
    }
}

/// The command in `do COMMAND`.
fn behind_do(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix("do ")
}

/// A line after which another one may be none of the configuration.
fn may_leave(line: &str) -> bool {
    let line = line.trim_start();
    begins(line, "e") || begins(line, "do")
}

/// A line that may be about the hostname, which the prompt has.
fn may_rename(line: &str) -> bool {
    begins(line.trim_start(), "h")
}

impl<W: AsyncWrite + Unpin> Session<W> {
    /// What is typed from now on is the configuration.
    pub(super) async fn configure(&mut self, local: bool, revert: Option<Duration>) -> Result<(), Refusal> {
        let now = self.control.running().await?;
        if let Some(why) = now.elsewhere.filter(|_| !local) {
            let words = "`configure terminal local` is for what is of this box alone: hostname, bridge, server backup, \
                         limits, ip";
            return Err(Refusal(format!("{why}\n{words}")));
        }
        if let Some(hold) = now.hold.filter(|hold| hold.by.session != self.by.session) {
            return Err(ConfigError::Held(hold).into());
        }
        if let Some(time) = revert {
            self.control.config_order(self.by.clone(), ConfigOrder::Hold(time)).await?;
        }
        if self.terminal.interactive {
            self.put_line("Enter configuration commands, one per line.  End with CNTL/Z.");
        }
        self.configuring = Some(Configuring::default());
        Ok(())
    }

    /// No line waits to act: what is shown is complete.
    pub(super) fn nothing_waits(&self) -> bool {
        self.configuring.as_ref().is_none_or(|configuring| configuring.waiting.is_empty())
    }

    /// A line of the configuration; `ends`: and then its end.
    pub(super) async fn typed(&mut self, line: String, ends: bool) -> io::Result<bool> {
        let echo = std::mem::take(&mut self.shown);
        let leaves = may_leave(&line);
        let renames = may_rename(&line);
        if renames {
            // Prompts before it have the name before.
            self.settle().await?;
            self.flush().await?;
        }
        let Some(configuring) = &mut self.configuring else { return Ok(true) };
        configuring.waiting.push(Typed { echo, line, is_last: !ends });
        if ends {
            configuring.waiting.push(Typed { echo: Vec::new(), line: "end".into(), is_last: true });
        }
        if ends || leaves || renames || configuring.waiting.len() >= TOGETHER {
            self.settle().await?;
        }
        Ok(true)
    }

    /// What was typed acts, and what came of it is shown.
    pub(super) async fn settle(&mut self) -> io::Result<()> {
        let Some(configuring) = &mut self.configuring else { return Ok(()) };
        let waiting = std::mem::take(&mut configuring.waiting);
        if waiting.is_empty() {
            return Ok(());
        }
        // What was typed behind them is shown behind what came of them.
        let behind = std::mem::take(&mut self.shown);
        let lines: Vec<&str> = waiting.iter().map(|typed| typed.line.as_str()).collect();
        let place = configuring.place.clone();
        let outcomes = put_in_force(&*self.control, &self.by, place, &lines).await;
        if lines.iter().any(|line| may_rename(line))
            && let Ok(config) = self.control.config().await
        {
            self.hostname = config.hostname.to_string();
        }
        for (typed, outcome) in waiting.iter().zip(outcomes) {
            self.shown.extend(&typed.echo);
            let before = std::mem::take(&mut self.refused);
            let level = self.level;
            match outcome.result {
                Err(Why::NotUnderstood(no_match)) => self.not_understood(&no_match),
                Err(Why::Refused(words)) => self.refuse(&Refusal(words)),
                Ok(Next::Stay) => {}
                Ok(Next::Leave) => self.configuring = None,
                Ok(Next::Do(line)) => {
                    self.flush().await?;
                    // `do exit` leaves nothing: the configuration is left first.
                    Box::pin(self.line(&line)).await?;
                }
            }
            if let Some(configuring) = &mut self.configuring {
                configuring.place = outcome.place;
            }
            self.write_down(&typed.line, level);
            self.refused |= before;
            if typed.is_last {
                self.prompt();
            }
        }
        self.shown.extend(behind);
        Ok(())
    }
}

/// Has lines act, one after the other, on what is in force.
async fn put_in_force(control: &dyn Control, by: &By, place: Place, lines: &[&str]) -> Vec<Outcome> {
    let refused = |why: String| {
        lines.iter().map(|_| Outcome { result: Err(Why::Refused(why.clone())), place: place.clone() }).collect()
    };
    for _ in 0..TRIES {
        let now = match control.running().await {
            Ok(now) => now,
            Err(error) => return refused(error.to_string()),
        };
        let (outcomes, running) = block_in_place(|| judge(&now.running, &place, lines));
        if running == now.running {
            return outcomes;
        }
        match control.configure(Change { running, revision: now.revision, by: by.clone() }).await {
            Ok(_) => return outcomes,
            Err(ConfigError::Changed(_)) => {}
            Err(error) if lines.len() == 1 => {
                // It was understood: who asks for help is told where he is.
                let place = outcomes.into_iter().next_back().map_or(place, |outcome| outcome.place);
                return vec![Outcome { result: Err(Why::Refused(error.to_string())), place }];
            }
            // One of them may be what cannot be: each by itself.
            Err(_) => {
                let (mut all, mut place) = (Vec::new(), place);
                for line in lines {
                    all.extend(Box::pin(put_in_force(control, by, place, std::slice::from_ref(line))).await);
                    place = all.last().map(|outcome: &Outcome| outcome.place.clone()).unwrap_or_default();
                }
                return all;
            }
        }
    }
    refused("others change the configuration all the time; try again".into())
}

/// What lines come to after `before`: as many together as may be, and those that are wrong by themselves.
fn judge(before: &Running, place: &Place, lines: &[&str]) -> (Vec<Outcome>, Running) {
    let mut running = before.clone();
    let mut draft = Draft::at(before.tree(), place.clone());
    let mut outcomes = Vec::new();
    let mut rest = lines;
    let mut together = rest.len();
    while !rest.is_empty() {
        let (these, later) = rest.split_at(together.clamp(1, rest.len()));
        let mut next = draft.clone();
        let typed: Vec<Outcome> = these
            .iter()
            .map(|line| Outcome { result: next.apply(line).map_err(Why::NotUnderstood), place: next.place.clone() })
            .collect();
        // What says nothing new needs no second look.
        let read = if next.tree == draft.tree { Ok(running.clone()) } else { Running::read(&next.tree, &running) };
        match read {
            Ok(new) => {
                (draft, running) = (next, new);
                outcomes.extend(typed);
                rest = later;
                together *= 2;
            }
            Err(refused) if these.len() == 1 => {
                outcomes.push(Outcome { result: Err(Why::Refused(told(&refused))), place: draft.place.clone() });
                rest = later;
            }
            Err(_) => together = these.len() / 2,
        }
    }
    (outcomes, running)
}

#[cfg(test)]
#[path = "configuring_tests.rs"]
mod tests;
