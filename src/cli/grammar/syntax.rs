//! What a command may look like, from the line in its entry.
//!
//! ```text
//!   show server real [REAL] [detail]        words as they are typed, arguments in capitals, what may be left out
//!   on-failure <reset|keep>                 one of several
//!   bind PORT (REAL PORT)...                once or more often
//!   weight 1-1000                           a number of a range
//! ```
//!
//! Compiled, it is a graph: from each node to those that may follow it. A line is a way through the graph.

use super::argument::Argument;

/// A place in the graph of one command.
pub type NodeId = usize;

/// What one word of a line must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    Keyword(&'static str),
    Argument(Argument),
}

impl Token {
    /// As the help shows it.
    pub fn shown(&self) -> String {
        match self {
            Self::Keyword(word) => (*word).to_owned(),
            Self::Argument(argument) => argument.shown(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Node {
    pub token: Token,
    /// One line of help, by the order in which tokens stand in the entry.
    pub help: &'static str,
    pub next: Vec<NodeId>,
    /// The line may end here.
    pub ends: bool,
}

/// The graph of one command.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub nodes: Vec<Node>,
    pub first: Vec<NodeId>,
}

/// What is wrong with an entry of the table. A test compiles all of them, so that no user ever sees one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    #[error("{0:?}: a bracket is not closed, or closes nothing")]
    Unbalanced(&'static str),
    #[error("{0:?}: `{1}` is no argument that there is")]
    UnknownArgument(&'static str, &'static str),
    #[error("{0:?}: {1} tokens, and {2} lines of help")]
    Help(&'static str, usize, usize),
    #[error("{0:?}: an empty line would be a command")]
    Empty(&'static str),
}

/// A part of a syntax, in the form of a tree.
#[derive(Clone, Debug)]
enum Part {
    Token(Token),
    Sequence(Vec<Part>),
    Choice(Vec<Part>),
    Optional(Box<Part>),
    Repeated(Box<Part>),
}

/// Compiles the syntax of an entry with its lines of help.
pub fn compile(syntax: &'static str, help: &[&'static str]) -> Result<Graph, SyntaxError> {
    let mut reader = Reader { syntax, words: words(syntax), at: 0 };
    let part = reader.sequence()?;
    if reader.at < reader.words.len() {
        return Err(SyntaxError::Unbalanced(syntax));
    }
    let mut builder = Builder { graph: Graph::default(), help, used: 0 };
    let fragment = builder.build(&part);
    if builder.used != help.len() {
        return Err(SyntaxError::Help(syntax, builder.used, help.len()));
    }
    if fragment.may_be_empty {
        return Err(SyntaxError::Empty(syntax));
    }
    let mut graph = builder.graph;
    graph.first = fragment.first;
    for last in fragment.last {
        if let Some(node) = graph.nodes.get_mut(last) {
            node.ends = true;
        }
    }
    Ok(graph)
}

/// Words and brackets, each by itself.
fn words(syntax: &'static str) -> Vec<&'static str> {
    let mut words = Vec::new();
    for word in syntax.split_whitespace() {
        let mut rest = word;
        while !rest.is_empty() {
            let end = match rest.find(['[', ']', '<', '>', '|', '(', ')']) {
                Some(0) if rest.starts_with(")...") => 4,
                Some(0) => 1,
                Some(end) => end,
                None => rest.len(),
            };
            let (word, after) = rest.split_at(end);
            words.push(word);
            rest = after;
        }
    }
    words
}

/// The keywords and values of a syntax, in order: what there is a line of help for.
pub fn tokens(syntax: &'static str) -> impl Iterator<Item = &'static str> {
    words(syntax).into_iter().filter(|word| word.starts_with(|c: char| c.is_ascii_alphanumeric()))
}

struct Reader {
    syntax: &'static str,
    words: Vec<&'static str>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<&'static str> {
        self.words.get(self.at).copied()
    }

    fn take(&mut self, word: &str) -> Result<(), SyntaxError> {
        if self.peek() != Some(word) {
            return Err(SyntaxError::Unbalanced(self.syntax));
        }
        self.at += 1;
        Ok(())
    }

    /// Up to the end, or to what closes or separates.
    fn sequence(&mut self) -> Result<Part, SyntaxError> {
        let mut parts = Vec::new();
        while let Some(word) = self.peek() {
            let part = match word {
                "]" | ">" | "|" | ")" | ")..." => break,
                "[" => {
                    self.at += 1;
                    let inner = self.choice()?;
                    self.take("]")?;
                    Part::Optional(Box::new(inner))
                }
                "<" => {
                    self.at += 1;
                    let inner = self.choice()?;
                    self.take(">")?;
                    inner
                }
                "(" => {
                    self.at += 1;
                    let inner = self.choice()?;
                    self.take(")...")?;
                    Part::Repeated(Box::new(inner))
                }
                word => {
                    self.at += 1;
                    Part::Token(self.token(word)?)
                }
            };
            parts.push(part);
        }
        Ok(Part::Sequence(parts))
    }

    fn choice(&mut self) -> Result<Part, SyntaxError> {
        let mut ways = vec![self.sequence()?];
        while self.peek() == Some("|") {
            self.at += 1;
            ways.push(self.sequence()?);
        }
        Ok(Part::Choice(ways))
    }

    fn token(&self, word: &'static str) -> Result<Token, SyntaxError> {
        let is_argument = word.starts_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit());
        // A number by itself is typed as it is: `secret 9`.
        if !is_argument || word.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Token::Keyword(word));
        }
        Argument::named(word).map(Token::Argument).ok_or(SyntaxError::UnknownArgument(self.syntax, word))
    }
}

/// The nodes by which a part is entered and left (Glushkov's construction).
struct Fragment {
    first: Vec<NodeId>,
    last: Vec<NodeId>,
    may_be_empty: bool,
}

struct Builder<'a> {
    graph: Graph,
    help: &'a [&'static str],
    used: usize,
}

impl Builder<'_> {
    fn build(&mut self, part: &Part) -> Fragment {
        match part {
            Part::Token(token) => {
                let id = self.graph.nodes.len();
                let help = self.help.get(self.used).copied().unwrap_or_default();
                self.used += 1;
                self.graph.nodes.push(Node { token: token.clone(), help, next: Vec::new(), ends: false });
                Fragment { first: vec![id], last: vec![id], may_be_empty: false }
            }
            Part::Sequence(parts) => {
                let mut whole = Fragment { first: Vec::new(), last: Vec::new(), may_be_empty: true };
                for part in parts {
                    let next = self.build(part);
                    self.join(&whole.last, &next.first);
                    if whole.may_be_empty {
                        whole.first.extend(&next.first);
                    }
                    if !next.may_be_empty {
                        whole.last.clear();
                    }
                    whole.last.extend(&next.last);
                    whole.may_be_empty &= next.may_be_empty;
                }
                whole
            }
            Part::Choice(ways) => {
                let mut whole = Fragment { first: Vec::new(), last: Vec::new(), may_be_empty: false };
                for way in ways {
                    let way = self.build(way);
                    whole.first.extend(way.first);
                    whole.last.extend(way.last);
                    whole.may_be_empty |= way.may_be_empty;
                }
                whole
            }
            Part::Optional(inner) => Fragment { may_be_empty: true, ..self.build(inner) },
            Part::Repeated(inner) => {
                let inner = self.build(inner);
                self.join(&inner.last, &inner.first);
                inner
            }
        }
    }

    fn join(&mut self, from: &[NodeId], to: &[NodeId]) {
        for from in from {
            let Some(node) = self.graph.nodes.get_mut(*from) else { continue };
            for to in to {
                if !node.next.contains(to) {
                    node.next.push(*to);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(syntax: &'static str) -> Graph {
        let help = vec!["help"; tokens(syntax).count()];
        compile(syntax, &help).unwrap()
    }

    /// All lines of up to so many words, in the words of the syntax.
    fn lines(graph: &Graph, most: usize) -> Vec<String> {
        fn go(graph: &Graph, from: &[NodeId], line: &str, left: usize, out: &mut Vec<String>) {
            for id in from {
                let node = &graph.nodes[*id];
                let line = if line.is_empty() { node.token.shown() } else { format!("{line} {}", node.token.shown()) };
                if node.ends {
                    out.push(line.clone());
                }
                if left > 1 {
                    go(graph, &node.next, &line, left - 1, out);
                }
            }
        }
        let mut out = Vec::new();
        go(graph, &graph.first, "", most, &mut out);
        out.sort();
        out
    }

    #[test]
    fn what_is_in_square_brackets_may_be_left_out() {
        let graph = compiled("[no] show a [b [c]]");
        let expected = ["no show a", "no show a b", "no show a b c", "show a", "show a b", "show a b c"];
        assert_eq!(lines(&graph, 9), expected);
    }

    #[test]
    fn of_a_choice_one_is_typed() {
        assert_eq!(lines(&compiled("x <a|b c|[d] e>"), 9), ["x a", "x b c", "x d e", "x e"]);
    }

    #[test]
    fn what_is_repeated_comes_at_least_once() {
        assert_eq!(lines(&compiled("x (a [b])..."), 4), ["x a", "x a a", "x a a a", "x a a b", "x a b", "x a b a"]);
    }

    #[test]
    fn a_bad_entry_is_found() {
        assert_eq!(compile("a [b", &["", ""]).unwrap_err(), SyntaxError::Unbalanced("a [b"));
        assert_eq!(compile("a b]", &["", ""]).unwrap_err(), SyntaxError::Unbalanced("a b]"));
        assert_eq!(compile("a NOSUCH", &["", ""]).unwrap_err(), SyntaxError::UnknownArgument("a NOSUCH", "NOSUCH"));
        assert_eq!(compile("a b", &["one"]).unwrap_err(), SyntaxError::Help("a b", 2, 1));
        assert_eq!(compile("[a]", &["one"]).unwrap_err(), SyntaxError::Empty("[a]"));
    }
}
