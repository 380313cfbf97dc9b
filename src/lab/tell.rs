//! How the tour speaks: plain lines on standard output, a moving line on a terminal's standard error.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::typist::Exchange;

/// Speaks, and remembers whether all of it was so.
#[derive(Debug)]
pub struct Teller {
    terminal: bool,
    wrong: usize,
    claims: usize,
    start: Instant,
}

impl Teller {
    /// With `terminal`, progress is drawn on standard error.
    pub fn new(terminal: bool) -> Self {
        Self { terminal, wrong: 0, claims: 0, start: Instant::now() }
    }

    pub fn scene(&mut self, title: &str) {
        self.say(&format!("\n== {title}"));
    }

    pub fn say(&mut self, text: &str) {
        self.clear();
        println!("{text}");
        // A reader at the end of a pipe follows as it happens.
        let _ = io::stdout().flush();
    }

    /// What was typed at a command line, and what it answered.
    pub fn show(&mut self, exchange: &Exchange) {
        self.say(&format!("   {}", exchange.line()));
        for line in &exchange.answer {
            self.say(format!("   {line}").trim_end());
        }
    }

    /// Says what was measured, and whether it is as it should be.
    pub fn claim(&mut self, holds: bool, text: &str) {
        self.claims += 1;
        if !holds {
            self.wrong += 1;
        }
        self.say(&format!("   {} {text}", if holds { "[so]    " } else { "[NOT SO]" }));
    }

    pub fn wrong(&self) -> usize {
        self.wrong
    }

    pub fn claims(&self) -> usize {
        self.claims
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// A line that moves while something runs, for [`draw`].
    pub fn terminal(&self) -> bool {
        self.terminal
    }

    fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

/// Draws a bar of what is done, on a terminal only and in at most a hundred steps.
pub fn draw(terminal: bool, what: &str, done: usize, all: usize) {
    let step = (all / 100).max(1);
    if !terminal || (!done.is_multiple_of(step) && done < all) {
        return;
    }
    let width = 30;
    let full = (done * width).checked_div(all).unwrap_or(width).min(width);
    eprint!("\r\x1b[K   {what} [{}{}] {done}/{all}", "#".repeat(full), ".".repeat(width - full));
    let _ = io::stderr().flush();
}
