//! What is wrong with a configuration, where, and what would be right.
//!
//! `validate` speaks of a `Config` and names places by `KeyPath`, so that it
//! serves every notation; a notation turns each `Finding` into a `Diagnostic`
//! with line and column.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It works, but probably not as meant.
    Warning,
}

/// Keys from the root to a value, `servers/pc1/weight`; positions in a list are numbers from 0.
/// Names cannot contain `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(String);

impl KeyPath {
    pub fn root() -> Self {
        Self::default()
    }

    /// The path of a key of this object, or of an item of this list.
    pub fn key(&self, key: impl fmt::Display) -> Self {
        if self.0.is_empty() { Self(key.to_string()) } else { Self(format!("{}/{key}", self.0)) }
    }

    pub fn parent(&self) -> Option<Self> {
        match self.0.rsplit_once('/') {
            Some((parent, _)) => Some(Self(parent.to_owned())),
            None if self.0.is_empty() => None,
            None => Some(Self::root()),
        }
    }

    /// This place is `other`, or somewhere below it.
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.strip_prefix(&other.0).is_some_and(|rest| other.0.is_empty() || rest.is_empty() || rest.starts_with('/'))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with one value, by whoever reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    /// What was said is right, and something more must be.
    pub is_lack: bool,
}

impl Complaint {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, is_lack: false }
    }

    /// Something is still to be said: whoever types a configuration line by line has not come to it yet.
    pub fn lack(message: impl Into<String>) -> Self {
        Self { is_lack: true, ..Self::new(message) }
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Something wrong with a `Config`, in any notation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub at: KeyPath,
    pub complaint: Complaint,
    /// Other places that have a part in it, with their part.
    pub related: Vec<(KeyPath, String)>,
}

impl Finding {
    pub fn error(at: KeyPath, complaint: Complaint) -> Self {
        Self { severity: Severity::Error, at, complaint, related: Vec::new() }
    }
    pub fn warning(at: KeyPath, complaint: Complaint) -> Self {
        Self { severity: Severity::Warning, at, complaint, related: Vec::new() }
    }
    pub fn related(mut self, at: KeyPath, label: impl Into<String>) -> Self {
        self.related.push((at, label.into()));
        self
    }
}

/// A place in a text. Lines and columns (in characters) count from 1, bytes from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub line: u32,
    pub column: u32,
    pub bytes: Range<usize>,
}

/// A finding with its place in a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// From 1; absent where the whole file is meant.
    pub line: Option<u32>,
    /// In characters, from 1.
    pub column: Option<u32>,
    /// Keys to the value, `servers/pc1/weight`; empty where the text has no such structure.
    pub path: String,
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
    pub related: Vec<Related>,
    /// See [`Complaint::is_lack`].
    #[serde(skip)]
    pub is_lack: bool,
    #[serde(skip)]
    span: Option<Span>,
}

/// A second place that has a part in what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    pub line: u32,
    pub column: u32,
    pub message: String,
    #[serde(skip)]
    span: Span,
}

impl Diagnostic {
    pub fn new(severity: Severity, path: &KeyPath, complaint: Complaint, span: Option<Span>) -> Self {
        Self {
            severity,
            line: span.as_ref().map(|span| span.line),
            column: span.as_ref().map(|span| span.column),
            path: path.to_string(),
            message: complaint.message,
            help: complaint.help,
            related: Vec::new(),
            is_lack: complaint.is_lack,
            span,
        }
    }

    /// Byte of the text at which it begins, for an order.
    pub(super) fn start(&self) -> usize {
        self.span.as_ref().map_or(0, |span| span.bytes.start)
    }

    pub fn relate(&mut self, span: Span, message: String) {
        self.related.push(Related { line: span.line, column: span.column, message, span });
    }

    /// For people: message, file, line, column, the offending lines, and what would be right.
    pub fn render(&self, file: &str, text: &str) -> String {
        // A file must not steer the terminal of who reads the error: 0x9b does what ESC [ does.
        self.draw(file, text).replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
    }

    fn draw(&self, file: &str, text: &str) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let Some(span) = &self.span else {
            let help = self.help.as_ref().map_or(String::new(), |help| format!("\n  = help: {help}"));
            let severity = if self.severity == Severity::Error { "error" } else { "warning" };
            return format!("{severity}: {}\n --> {file}{help}", self.message);
        };
        let mut marks = vec![(span, None)];
        marks.extend(self.related.iter().map(|related| (&related.span, Some(related.message.as_str()))));
        let mut group = Group::with_title(level.primary_title(self.message.as_str()));
        // One snippet, which the renderer needs to join neighbouring lines, only if the places are near.
        let lines = marks.iter().map(|(span, _)| span.line);
        let (first, last) = (lines.clone().min().unwrap_or(1), lines.max().unwrap_or(1));
        if last - first <= 40 {
            group = group.element(snippet(file, text, &marks));
        } else {
            for mark in &marks {
                group = group.element(snippet(file, text, std::slice::from_ref(mark)));
            }
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        Renderer::plain().render(&[group])
    }
}

/// The lines around `marks` only: a renderer that is handed a whole file of 4 MiB reads it each time.
fn snippet<'a>(
    file: &'a str,
    text: &'a str,
    marks: &[(&Span, Option<&'a str>)],
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let first = marks.iter().map(|(span, _)| span.bytes.start).min().unwrap_or(0);
    let last = marks.iter().map(|(span, _)| span.bytes.end).max().unwrap_or(0).max(first);
    let start = text.get(..first).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let end = text.get(last..).and_then(|after| after.find('\n')).map_or(text.len(), |at| last + at);
    let line = marks.iter().map(|(span, _)| span.line).min().unwrap_or(1);
    // A secret may stand in the lines after its key: those before the window say whether it has one.
    let before = text.get(..start).unwrap_or_default();
    let context = before.rmatch_indices('\n').nth(CONTEXT_LINES).map_or(0, |(at, _)| at + 1);
    let window = without_secrets(text.get(context..end).unwrap_or_default()).split_off(start - context);
    let length = window.len();
    let mut snippet = Snippet::source(window).path(file).line_start(line as usize);
    for (index, (span, label)) in marks.iter().enumerate() {
        let kind = if index == 0 && label.is_none() { AnnotationKind::Primary } else { AnnotationKind::Context };
        let from = (span.bytes.start - start).min(length);
        let to = span.bytes.end.saturating_sub(start).clamp(from, length);
        snippet = snippet.annotation(kind.span(from..to).label(*label));
    }
    snippet
}

/// Lines before a place in which the key of a secret is looked for.
const CONTEXT_LINES: usize = 2;

/// The text, of the same length, with stars for what stands behind `secret:`: a message goes to screens and logs, and
/// there may be a password where its hash belongs.
fn without_secrets(text: &str) -> String {
    const KEY: &str = "secret";
    let mut bytes = text.as_bytes().to_vec();
    let mut end = 0;
    for (at, _) in text.match_indices(KEY) {
        // The key itself, plain or in quotes, and not `secret-file` or what stands within a secret.
        let rest = text.get(at + KEY.len()..).unwrap_or_default();
        let after = rest.strip_prefix(['"', '\'']).unwrap_or(rest).trim_start_matches(' ');
        if at < end || !after.starts_with(':') {
            continue;
        }
        let begin = text.len() - after.len() + 1;
        let value = text.get(begin..).unwrap_or_default();
        end = begin + length_of_value(text, at, value);
        for byte in bytes.iter_mut().take(end).skip(begin).filter(|byte| !byte.is_ascii_whitespace()) {
            *byte = b'*';
        }
    }
    // What is not ASCII has become stars as a whole.
    String::from_utf8(bytes).unwrap_or_default()
}

/// How much of what follows a key at `at` is its value.
fn length_of_value(text: &str, at: usize, value: &str) -> usize {
    let line = value.split_inclusive('\n').next().unwrap_or_default();
    let trimmed = line.trim();
    let blank = line.len() - line.trim_start().len();
    if let Some(quote) = trimmed.chars().next().filter(|c| ['"', '\''].contains(c)) {
        let inner = value.get(blank + 1..).unwrap_or_default();
        return inner.find(quote).map_or(value.len(), |close| blank + 1 + close + 1);
    }
    if !trimmed.is_empty() && !trimmed.starts_with(['|', '>']) {
        return line.find([',', '}']).unwrap_or(line.len());
    }
    // A block: the lines that are further in than that of the key.
    let key_line = text.get(..at).unwrap_or_default().rsplit('\n').next().unwrap_or_default();
    let indent = key_line.len() - key_line.trim_start().len();
    let block = value.split_inclusive('\n').skip(1);
    let inner = block.take_while(|line| line.trim().is_empty() || line.len() - line.trim_start().len() > indent);
    line.len() + inner.map(str::len).sum::<usize>()
}

/// A configuration that is not taken. Nothing of it has any effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The file's name, as the operator gave it.
    pub file: String,
    /// All errors, in the order of the file; warnings come once there are none.
    pub diagnostics: Vec<Diagnostic>,
    /// How many more errors there are, left out of the list.
    pub omitted: usize,
    #[serde(skip)]
    pub(super) text: String,
}

/// Most diagnostics of one file: a longer list helps nobody, and a file of 4 MiB can have hundreds of thousands.
pub const DIAGNOSTICS_MAX: usize = 100;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_diagnostics(f, &self.file, &self.text, &self.diagnostics, self.omitted)?;
        let errors = self.diagnostics.len() + self.omitted;
        let noun = if errors == 1 { "error" } else { "errors" };
        write!(f, "{}: refused for {errors} {noun}; nothing of it takes effect", self.file)
    }
}

impl std::error::Error for Refused {}

pub(super) fn write_diagnostics(
    f: &mut impl fmt::Write,
    file: &str,
    text: &str,
    diagnostics: &[Diagnostic],
    omitted: usize,
) -> fmt::Result {
    for diagnostic in diagnostics {
        write!(f, "{}\n\n", diagnostic.render(file, text))?;
    }
    match omitted {
        0 => Ok(()),
        more => write!(f, "... and {more} more\n\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_within_its_parents_and_not_within_a_name_that_begins_alike() {
        let mx = KeyPath::root().key("pools").key("mx");
        assert!(mx.key("members").key(0).is_within(&mx) && mx.is_within(&mx) && mx.is_within(&KeyPath::root()));
        assert!(!KeyPath::root().key("pools").key("mx2").is_within(&mx));
        assert_eq!(mx.key("port").parent(), Some(mx));
        assert_eq!(KeyPath::root().parent(), None);
    }

    #[test]
    fn places_far_apart_are_shown_without_what_lies_between() {
        let text = format!("first\n{}second\n", "\n".repeat(5_000));
        let span = |line, bytes| Span { line, column: 1, bytes };
        let complaint = Complaint::new("twice");
        let mut diagnostic =
            Diagnostic::new(Severity::Error, &KeyPath::root(), complaint, Some(span(5_002, 5_006..5_012)));
        diagnostic.relate(span(1, 0..5), "here first".into());
        let shown = diagnostic.render("lb.yaml", &text);
        assert!(shown.contains("lb.yaml:5002:1") && shown.contains("second") && shown.contains("first"), "{shown}");
        assert!(shown.lines().count() < 20, "{shown}");
    }

    #[test]
    fn no_secret_is_in_a_message() {
        for text in [
            "  secret: hunter2\n",
            "admin: {level: 99, secret: hunter2, ssh-keys: []}",
            "enable-secret: \"hunter2, }\"\n",
            "{\"secret\": 'hunter2'}",
            "  secret : hunter2 # or not",
            "  secret:\n    hunter2\n",
            "  secret: |\n    one\n    hunter2\n",
            "secret: \"hunter2",
            "secret: hünter2 hunter2",
            "a: {secret: secret:hunter2}",
        ] {
            let shown = without_secrets(text);
            assert!(!shown.contains("hunter2") && shown.len() == text.len(), "{text:?}: {shown:?}");
        }
        for text in ["secret-file: /etc/lbd/secret\n", "  secret:\nbanner: x\n", "a secret", "servers: {secret: "] {
            assert_eq!(without_secrets(text), text);
        }
        assert_eq!(without_secrets("{secret: a, level: 3}"), "{secret: *, level: 3}");
    }
}
