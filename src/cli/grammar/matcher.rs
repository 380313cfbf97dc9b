//! Finds the command that a line is, what may come next in it, and what a word may become.
//!
//! All commands of a mode are followed at once, word by word. At each word the best matches go on: a keyword or an
//! object's name as it is written, else a keyword's beginning, else a value. A beginning of more than one keyword
//! is ambiguous, whatever follows, as admins know it.

use std::fmt;

use super::argument::{Argument, Kind};
use super::syntax::{Graph, NodeId, Token};

/// What the matcher must know of the configuration.
pub trait Objects {
    /// The names of this kind, in order.
    fn names(&self, kind: Kind) -> Vec<String>;
}

/// Where nothing has a name: what stands for an object is any name.
pub struct NoObjects;

impl Objects for NoObjects {
    fn names(&self, _: Kind) -> Vec<String> {
        Vec::new()
    }
}

/// A command with the graph of its syntax.
#[derive(Debug)]
pub struct Compiled<C> {
    pub graph: Graph,
    pub command: C,
}

/// A word of a line: without its quotes, with the place where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    /// In bytes from the beginning of the line.
    pub at: usize,
}

/// Cuts a line into words. Quotes keep blanks together; one that is not closed reaches to the end. A backslash makes
/// a quote, a question mark or a backslash a letter like any other.
pub fn words(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quoted = false;
    let mut chars = line.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let escaped = (c == '\\').then(|| chars.next_if(|(_, next)| ['"', '?', '\\'].contains(next))).flatten();
        if let Some((_, escaped)) = escaped {
            word.get_or_insert_with(|| Word { text: String::new(), at }).text.push(escaped);
        } else if c == '"' {
            quoted = !quoted;
            word.get_or_insert_with(|| Word { text: String::new(), at });
        } else if c.is_whitespace() && !quoted {
            words.extend(word.take());
        } else {
            word.get_or_insert_with(|| Word { text: String::new(), at }).text.push(c);
        }
    }
    words.extend(word);
    words
}

/// A command, and what stands behind the first `|` that is in no quotes.
pub fn split_pipe(line: &str) -> (&str, Option<&str>) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '|' if !quoted => return (line.get(..at).unwrap_or_default(), line.get(at + 1..)),
            _ => {}
        }
    }
    (line, None)
}

/// A word as it must be typed, so that [`words`] finds it again.
pub fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('?', "\\?");
    let plain = !text.is_empty() && !text.contains(char::is_whitespace) && !text.starts_with(['!', '|']);
    if plain { escaped } else { format!("\"{escaped}\"") }
}

/// Why a line is no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoMatch {
    /// At this byte of the line; what is wrong, where more can be said.
    Invalid {
        at: usize,
        why: Option<String>,
    },
    /// This beginning of a word is of several.
    Ambiguous(String),
    Incomplete,
}

/// The words of IOS, which programs look for.
impl fmt::Display for NoMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { .. } => f.write_str("% Invalid input detected at '^' marker."),
            Self::Ambiguous(word) => write!(f, "% Ambiguous command:  \"{word}\""),
            Self::Incomplete => f.write_str("% Incomplete command."),
        }
    }
}

/// What was typed for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    pub token: Token,
    /// Of a keyword, the whole of it.
    pub text: String,
}

impl Typed {
    /// It is this keyword.
    pub fn is(&self, keyword: &str) -> bool {
        matches!(self.token, Token::Keyword(own) if own == keyword)
    }

    pub fn is_value(&self) -> bool {
        matches!(self.token, Token::Argument(_))
    }
}

/// A line's words, each with what it stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args(pub Vec<Typed>);

impl Args {
    /// This keyword was typed.
    pub fn has(&self, keyword: &str) -> bool {
        self.0.iter().any(|typed| typed.is(keyword))
    }

    /// The values, in their order.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|typed| typed.is_value()).map(|typed| typed.text.as_str())
    }

    /// The value number `index`, from 0.
    pub fn value(&self, index: usize) -> Option<&str> {
        self.values().nth(index)
    }

    /// The value that follows a keyword at once.
    pub fn after(&self, keyword: &str) -> Option<&str> {
        let at = self.0.iter().position(|typed| typed.is(keyword))?;
        self.0.get(at + 1).filter(|next| next.is_value()).map(|next| next.text.as_str())
    }
}

/// One of the ways that the words so far may go.
#[derive(Clone)]
struct Way {
    command: usize,
    /// The last node; `None` at the beginning.
    node: Option<NodeId>,
    args: Args,
}

/// How well a word matches; more is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Value,
    Beginning,
    Exact,
}

/// What help has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Help {
    /// Words that go on as the last one begins.
    Words(Vec<String>),
    /// What may come next, with a line on each; an end of the line is `<cr>`.
    Next(Vec<(String, String)>),
}

/// The end of a line in the help.
pub const END: &str = "<cr>";

/// The commands of one mode at one level.
#[derive(Debug)]
pub struct Grammar<'t, C> {
    pub commands: Vec<&'t Compiled<C>>,
}

impl<'t, C> Grammar<'t, C> {
    fn begin(&self) -> Vec<Way> {
        (0..self.commands.len()).map(|command| Way { command, node: None, args: Args::default() }).collect()
    }

    fn graph(&self, way: &Way) -> Option<&Graph> {
        self.commands.get(way.command).map(|compiled| &compiled.graph)
    }

    /// The nodes that may follow.
    fn next(&self, way: &Way) -> &[NodeId] {
        let Some(graph) = self.graph(way) else { return &[] };
        match way.node {
            None => &graph.first,
            Some(id) => graph.nodes.get(id).map_or(&[], |node| &node.next),
        }
    }

    fn ends(&self, way: &Way) -> bool {
        let node = way.node.and_then(|id| self.graph(way)?.nodes.get(id));
        node.is_some_and(|node| node.ends)
    }

    /// One word further. A `LINE` takes the word as its whole.
    fn step(&self, ways: &[Way], word: &Word, objects: &dyn Objects) -> Result<Vec<Way>, NoMatch> {
        let mut found: Vec<(Rank, Way)> = Vec::new();
        let mut complaints = Vec::new();
        for way in ways {
            for id in self.next(way) {
                let Some(node) = self.graph(way).and_then(|graph| graph.nodes.get(*id)) else { continue };
                let (rank, text) = match &node.token {
                    Token::Keyword(keyword) if keyword.eq_ignore_ascii_case(&word.text) => {
                        (Rank::Exact, (*keyword).to_owned())
                    }
                    Token::Keyword(keyword) if begins(keyword, &word.text) => (Rank::Beginning, (*keyword).to_owned()),
                    Token::Keyword(_) => continue,
                    Token::Argument(Argument::Object(kind)) if objects.names(*kind).contains(&word.text) => {
                        (Rank::Exact, word.text.clone())
                    }
                    Token::Argument(argument) => match argument.check(&word.text) {
                        Ok(()) => (Rank::Value, word.text.clone()),
                        Err(why) => {
                            complaints.push(why);
                            continue;
                        }
                    },
                };
                let mut args = way.args.clone();
                args.0.push(Typed { token: node.token.clone(), text });
                found.push((rank, Way { command: way.command, node: Some(*id), args }));
            }
        }
        let Some(best) = found.iter().map(|(rank, _)| *rank).max() else {
            complaints.dedup();
            // Where several values could stand, none of the complaints is the one.
            let why = (complaints.len() == 1).then(|| complaints.pop()).flatten();
            return Err(NoMatch::Invalid { at: word.at, why });
        };
        found.retain(|(rank, _)| *rank == best);
        if best == Rank::Beginning {
            let last = |way: &Way| way.args.0.last().map(|typed| typed.text.clone());
            let first = found.first().and_then(|(_, way)| last(way));
            if found.iter().any(|(_, way)| last(way) != first) {
                return Err(NoMatch::Ambiguous(word.text.clone()));
            }
        }
        Ok(found.into_iter().map(|(_, way)| way).collect())
    }

    /// All words of a line, as far as they go: the ways, and whether a `LINE` has taken the rest.
    fn walk(&self, line: &str, words: &[Word], objects: &dyn Objects) -> Result<(Vec<Way>, bool), NoMatch> {
        let mut ways = self.begin();
        for word in words {
            let takes_all = |way: &Way| {
                let mut next = self.next(way).iter().filter_map(|id| self.graph(way)?.nodes.get(*id));
                next.any(|node| node.token == Token::Argument(Argument::Line))
            };
            let whole = ways.iter().any(takes_all).then(|| line.get(word.at..).unwrap_or_default().trim_end());
            let stepped = self.step(&ways, word, objects)?;
            let is_line =
                |way: &Way| way.args.0.last().is_some_and(|typed| typed.token == Token::Argument(Argument::Line));
            if let Some(whole) = whole
                && stepped.iter().all(is_line)
            {
                let mut stepped = stepped;
                for way in &mut stepped {
                    if let Some(last) = way.args.0.last_mut() {
                        last.text = whole.to_owned();
                    }
                }
                return Ok((stepped, true));
            }
            ways = stepped;
        }
        Ok((ways, false))
    }

    /// The command that a line is, with what was typed.
    pub fn find(&self, line: &str, objects: &dyn Objects) -> Result<(&'t C, Args), NoMatch> {
        let words = words(line);
        let (ways, _) = self.walk(line, &words, objects)?;
        let mut ends = ways.into_iter().filter(|way| self.ends(way));
        let way = ends.next().ok_or(NoMatch::Incomplete)?;
        let compiled = self.commands.get(way.command).ok_or(NoMatch::Incomplete)?;
        Ok((&compiled.command, way.args))
    }

    /// What `?` at the end of this line says.
    pub fn help(&self, line: &str, objects: &dyn Objects) -> Result<Help, NoMatch> {
        let mut words = words(line);
        let partial = if line.ends_with(char::is_whitespace) { None } else { words.pop() };
        let (ways, in_line) = self.walk(line, &words, objects)?;
        if in_line {
            return Ok(Help::Next(vec![(END.into(), String::new())]));
        }
        match partial {
            Some(partial) => {
                let words = self.going_on(&ways, &partial.text, objects);
                if words.is_empty() {
                    // Either a value that is being typed, or nothing that there is.
                    let stepped = self.step(&ways, &partial, objects)?;
                    return Ok(Help::Next(stepped.iter().filter_map(|way| self.line_of(way)).collect()));
                }
                Ok(Help::Words(words))
            }
            None => {
                let mut lines: Vec<(String, String)> = Vec::new();
                for way in &ways {
                    for id in self.next(way) {
                        let next = Way { command: way.command, node: Some(*id), args: Args::default() };
                        let line = self.line_of(&next);
                        lines.extend(line.filter(|line| !lines.iter().any(|old| old.0 == line.0)));
                    }
                }
                // Values after words, as IOS has them; the end last.
                lines.sort_by_key(|(shown, _)| (!shown.starts_with(|c: char| c.is_ascii_lowercase()), shown.clone()));
                if !words.is_empty() && ways.iter().any(|way| self.ends(way)) {
                    lines.push((END.into(), String::new()));
                }
                Ok(Help::Next(lines))
            }
        }
    }

    fn line_of(&self, way: &Way) -> Option<(String, String)> {
        let node = self.graph(way)?.nodes.get(way.node?)?;
        Some((node.token.shown(), node.help.to_owned()))
    }

    /// Keywords and names that begin so, in order.
    fn going_on(&self, ways: &[Way], beginning: &str, objects: &dyn Objects) -> Vec<String> {
        let mut words = Vec::new();
        for way in ways {
            for node in self.next(way).iter().filter_map(|id| self.graph(way)?.nodes.get(*id)) {
                match &node.token {
                    Token::Keyword(keyword) if begins(keyword, beginning) => words.push((*keyword).to_owned()),
                    Token::Argument(Argument::Object(kind)) => {
                        words.extend(objects.names(*kind).into_iter().filter(|name| name.starts_with(beginning)));
                    }
                    _ => {}
                }
            }
        }
        words.sort();
        words.dedup();
        words
    }

    /// What Tab adds to a line; nothing where nothing is certain.
    pub fn complete(&self, line: &str, objects: &dyn Objects) -> String {
        let mut words = words(line);
        let Some(partial) = words.pop().filter(|_| !line.ends_with(char::is_whitespace)) else { return String::new() };
        let Ok((ways, false)) = self.walk(line, &words, objects) else { return String::new() };
        let found = self.going_on(&ways, &partial.text, objects);
        let Some(first) = found.first() else { return String::new() };
        let common = found.iter().skip(1).fold(first.len(), |common, word| {
            first.bytes().zip(word.bytes()).take(common).take_while(|(one, other)| one == other).count()
        });
        let added = first.get(partial.text.len()..common).unwrap_or_default();
        if found.len() == 1 { format!("{added} ") } else { added.to_owned() }
    }
}

/// Whether a text begins so, as commands are compared.
pub fn begins(text: &str, beginning: &str) -> bool {
    text.get(..beginning.len()).is_some_and(|head| head.eq_ignore_ascii_case(beginning))
}

#[cfg(test)]
#[path = "matcher_tests.rs"]
mod tests;
