//! The commands: a table of entries, each with its syntax, its help and its function.

mod capture;
mod configure;
mod events;
mod exec;
mod explain;
#[cfg(test)]
mod first_hour;
mod lines;
#[cfg(test)]
mod manual;
mod order;
mod running;
mod sessions;
mod show;
mod tokens;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::sync::mpsc;

use super::grammar::argument::Kind;
use super::grammar::matcher::{Args, Compiled, Grammar, Objects};
use super::grammar::syntax::compile;
use crate::config::Name;
use crate::core::control::{Control, Editor, State};

pub use crate::access::{ADMIN, VIEWER as USER};

/// A command of the table.
pub struct Entry {
    /// The level from which on it is there.
    pub level: u8,
    pub syntax: &'static str,
    /// A line for each word of the syntax, in order.
    pub help: &'static [&'static str],
    pub run: Run,
}

/// How a command is carried out.
#[derive(Clone, Copy)]
pub enum Run {
    /// It changes the session and nothing else.
    Session(fn(&Args) -> Change),
    /// It shows a part of the state: as lines, and as JSON with the names of the API.
    Show(fn(&State, &Args, usize) -> Shown, fn(&State, &Args) -> Value),
    /// It does something, or shows what is not of the state.
    Do(fn(Call) -> BoxFuture<'static, Result<Vec<String>, Refusal>>),
    /// The same, as JSON too.
    Ask(fn(Call) -> BoxFuture<'static, Result<Vec<String>, Refusal>>),
    /// It shows what may have no end in sight; it ends when nobody takes its lines any more.
    Stream(fn(Call, Lines) -> BoxFuture<'static, Result<(), Refusal>>),
}

/// Where a command puts its lines, some at a time; bounded by whoever takes them.
pub type Lines = mpsc::Sender<Vec<String>>;

/// What a command is called with.
pub struct Call {
    pub control: Arc<dyn Control>,
    pub args: Args,
    /// `| json` was said.
    pub json: bool,
    /// Who calls it.
    pub by: Editor,
}

/// Lines of a command; the second are for a terminal of the width that it was told.
pub type Shown = Result<Vec<String>, Refusal>;

/// Why a command was not carried out, for the operator, without the `%` before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

impl Refusal {
    /// A value is missing that the grammar has asked for: it lets nothing else through.
    fn incomplete() -> Self {
        Self("Incomplete command.".to_owned())
    }
}

/// A name that the grammar has let through.
fn name(text: Option<&str>) -> Result<Name, Refusal> {
    text.and_then(|text| Name::new(text).ok()).ok_or_else(Refusal::incomplete)
}

impl<E: std::error::Error> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// What a command does to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Enable,
    Disable,
    Leave,
    /// Rows of the terminal; 0: no pages.
    Length(usize),
    /// Columns; 0: no limit.
    Width(usize),
    /// What the daemon writes down is shown, or is not.
    Monitor(bool),
    History,
    Privilege,
    /// How to ask for help.
    Help,
    /// What is typed from now on is the configuration.
    Configure {
        /// What is of this box alone.
        local: bool,
        /// It is taken back after this time unless it is confirmed.
        revert: Option<Duration>,
    },
}

/// What the operator should know of what was done.
fn noted(notes: &[String]) -> impl Iterator<Item = String> {
    notes.iter().map(|note| format!("Note: {note}"))
}

/// All commands.
fn entries() -> impl Iterator<Item = &'static Entry> {
    [
        exec::ENTRIES,
        lines::ENTRIES,
        show::ENTRIES,
        events::ENTRIES,
        sessions::ENTRIES,
        running::ENTRIES,
        order::ENTRIES,
        explain::ENTRIES,
        capture::ENTRIES,
        configure::ENTRIES,
        tokens::ENTRIES,
    ]
    .into_iter()
    .flatten()
}

static TABLE: LazyLock<Vec<Compiled<&'static Entry>>> = LazyLock::new(|| {
    // A test compiles them all: what could not be compiled is not there, instead of ending a session.
    entries()
        .filter_map(|entry| Some(Compiled { graph: compile(entry.syntax, entry.help).ok()?, command: entry }))
        .collect()
});

/// What may be typed at this level.
pub fn grammar(level: u8) -> Grammar<'static, &'static Entry> {
    Grammar { commands: TABLE.iter().filter(|compiled| compiled.command.level <= level).collect() }
}

/// The names of what there is.
impl Objects for State {
    fn names(&self, kind: Kind) -> Vec<String> {
        let mut names: Vec<String> = match kind {
            Kind::Real => self.servers.iter().map(|server| server.name.clone()).collect(),
            Kind::Pool => self.pools.iter().map(|pool| pool.name.clone()).collect(),
            Kind::Virtual => self.services.iter().map(|service| service.virtual_server.clone()).collect(),
        };
        names.sort();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::grammar::matcher::{NoMatch, NoObjects};
    use crate::cli::grammar::syntax::Token;

    #[test]
    fn every_entry_compiles_and_has_a_line_of_help_for_each_word() {
        let mut seen = BTreeSet::new();
        for entry in entries() {
            compile(entry.syntax, entry.help).unwrap_or_else(|error| panic!("{error}"));
            assert!(entry.help.iter().all(|line| !line.is_empty() && !line.ends_with('.')), "{}", entry.syntax);
            assert!(entry.level == USER || entry.level == ADMIN, "{}", entry.syntax);
            assert!(seen.insert(entry.syntax), "{} is there twice", entry.syntax);
        }
        assert_eq!(seen.len(), TABLE.len());
    }

    /// A word of each kind of token.
    fn example(token: &Token) -> String {
        use crate::cli::grammar::argument::Argument;
        match token {
            Token::Keyword(word) => (*word).to_owned(),
            Token::Argument(argument) => match argument {
                Argument::Number(first, _) => first.to_string(),
                Argument::Address | Argument::Address4 => "192.0.2.1".into(),
                Argument::Address6 => "2001:db8::1".into(),
                Argument::Prefix => "192.0.2.0/24".into(),
                Argument::Mac => "02:00:00:00:00:01".into(),
                Argument::Object(_) | Argument::Name => "qqq1".into(),
                Argument::Port | Argument::Ports => "25".into(),
                Argument::Time | Argument::Minutes => "30s".into(),
                Argument::Share => "10".into(),
                Argument::Word | Argument::Line => "qqqq".into(),
            },
        }
    }

    /// All lines of all commands, each with its entry; words that may come again come once.
    fn lines() -> Vec<(&'static str, Vec<Token>)> {
        fn go(
            compiled: &Compiled<&'static Entry>,
            from: &[usize],
            so_far: &[usize],
            out: &mut Vec<(&'static str, Vec<Token>)>,
        ) {
            for id in from.iter().filter(|id| !so_far.contains(id)) {
                let node = &compiled.graph.nodes[*id];
                let way: Vec<usize> = so_far.iter().copied().chain([*id]).collect();
                if node.ends {
                    let tokens = way.iter().map(|id| compiled.graph.nodes[*id].token.clone()).collect();
                    out.push((compiled.command.syntax, tokens));
                }
                go(compiled, &node.next, &way, out);
            }
        }
        let mut out = Vec::new();
        TABLE.iter().for_each(|compiled| go(compiled, &compiled.graph.first, &[], &mut out));
        out
    }

    /// Every beginning of every word of every command finds it, or is ambiguous, and never another command.
    #[test]
    fn no_abbreviation_of_a_command_is_another_one() {
        let grammar = grammar(ADMIN);
        for (syntax, tokens) in lines() {
            let words: Vec<String> = tokens.iter().map(example).collect();
            let (found, _) = grammar.find(&words.join(" "), &NoObjects).unwrap_or_else(|e| panic!("{words:?}: {e}"));
            assert_eq!(found.syntax, syntax, "{words:?}");
            for (at, token) in tokens.iter().enumerate() {
                let Token::Keyword(keyword) = token else { continue };
                for length in 1..keyword.len() {
                    let mut words = words.clone();
                    words[at].truncate(length);
                    match grammar.find(&words.join(" "), &NoObjects) {
                        // A whole word that goes on in another one: `session`, `sessions`.
                        Ok((found, _)) if found.syntax.split(' ').any(|word| word == words[at]) => {}
                        Ok((found, _)) => assert_eq!(found.syntax, syntax, "{words:?}"),
                        Err(NoMatch::Ambiguous(word)) => assert_eq!(word, words[at], "{words:?}"),
                        Err(other) => panic!("{words:?}: {other}"),
                    }
                }
            }
        }
    }

    #[test]
    fn there_is_help_at_every_prefix_of_every_command() {
        let grammar = grammar(ADMIN);
        for (_, tokens) in lines() {
            let words: Vec<String> = tokens.iter().map(example).collect();
            for upto in 0..=words.len() {
                let line = format!("{} ", words[..upto].join(" "));
                let line = line.trim_start();
                assert!(grammar.help(line, &NoObjects).is_ok(), "{line:?}");
            }
        }
    }

    #[test]
    fn what_admins_fingers_know_is_there() {
        let grammar = grammar(ADMIN);
        for line in [
            "sh ser real",
            "sh ser vir",
            "sh ser bind",
            "sh ver",
            "en",
            "dis",
            "term len 0",
            "term width 511",
            "exit",
            "logout",
            "quit",
            "skip-page-display",
            "show priv",
            "sh hist",
            "server switchover",
            "sh int",
            "sh clock",
        ] {
            assert!(grammar.find(line, &NoObjects).is_ok(), "{line}");
        }
    }
}
