//! The parser's errors in the words of an operator: it speaks of scalars,
//! sequences and Rust types.

use serde_yaml::Error;

use super::notation::shown;
use super::places::span;
use crate::config::diagnostic::{Complaint, Diagnostic, KeyPath, Severity, Span};
use crate::config::suggest::did_you_mean;

/// What ended the reading, and where.
pub fn diagnostic(error: &Error, text: &str) -> Diagnostic {
    let error = error.without_snippet();
    let place = error
        .location()
        .and_then(|location| span(location).or_else(|| of_column(text, location.line(), location.column())));
    let empty = place.as_ref().is_some_and(|span| is_empty(text.get(span.bytes.clone()).unwrap_or_default()));
    Diagnostic::new(Severity::Error, &KeyPath::root(), complaint(error, empty), place)
}

fn is_empty(value: &str) -> bool {
    matches!(value.trim(), "" | "~" | "null" | "Null" | "NULL")
}

/// Syntax errors come without bytes: count characters.
fn of_column(text: &str, line: u64, column: u64) -> Option<Span> {
    let index = usize::try_from(line.checked_sub(1)?).ok()?;
    let row = text.split('\n').nth(index)?;
    // The parts of `text` before `row` in it: lengths, not pointers.
    let start: usize = text.split('\n').take(index).map(|row| row.len() + 1).sum();
    let skip = usize::try_from(column.checked_sub(1)?).ok()?;
    let from = row.char_indices().nth(skip).map_or(row.len(), |(at, _)| at);
    let to = row.get(from..).and_then(|rest| rest.chars().next()).map_or(from, |c| from + c.len_utf8());
    let (line, column) = (u32::try_from(line).ok()?, u32::try_from(column).ok()?);
    Some(Span { line, column, bytes: start + from..start + to })
}

fn complaint(error: &Error, empty: bool) -> Complaint {
    match error {
        Error::AliasError { error, .. } => complaint(error, empty),
        Error::Unexpected { .. } | Error::NullIntoString { .. } if empty => {
            Complaint::new("a value is missing here").help("give one, or remove the key: its default then holds")
        }
        Error::Unexpected { expected: "sequence start", .. } => {
            Complaint::new("a list is expected here").help("write [one, two], or one item to a line after `- `")
        }
        Error::Unexpected { expected: "mapping start", .. } => Complaint::new("keys with values are expected here")
            .help("write `key: value` lines below, further to the right, or {key: value, …}"),
        Error::Unexpected { expected: "string scalar", .. } => {
            Complaint::new("a single value is expected here, not a list or keys")
        }
        Error::SerdeUnknownField { field, expected, .. } => {
            let mut complaint = Complaint::new(format!("there is no key {} here", shown(field)));
            complaint.help = did_you_mean(field, expected.iter().copied());
            complaint
        }
        Error::SerdeInvalidType { expected, unexpected, .. } => {
            let complaint = Complaint::new(format!("{expected} is expected here"));
            if unexpected.starts_with("sequence") {
                complaint
            } else {
                complaint.help("a name that looks like a number or a truth value needs quotes: \"10\"")
            }
        }
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().map_or("a key".to_owned(), shown);
            Complaint::new(format!("{key} stands here twice")).help("a key or name can stand only once; remove one")
        }
        Error::MultipleDocuments { .. } => {
            Complaint::new("a second document begins here").help("the file has one; remove the line `---`")
        }
        Error::UnknownAnchor { .. } => {
            Complaint::new("no `&` before this names what `*` refers to").help("a plain value cannot begin with `*`")
        }
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } | Error::AliasReplayStackDepthExceeded { .. } => {
            Complaint::new(format!("the file is too large or too deeply nested: {}", plain(error)))
        }
        other => {
            let message = plain(other);
            let help = if message.starts_with("tabs") {
                "indent with spaces"
            } else {
                "if nothing is wrong here, look above: for a bracket or quote that is not closed, or a line that is \
                 indented otherwise than its neighbours"
            };
            Complaint::new(format!("this is not YAML: {message}")).help(help)
        }
    }
}

/// The parser's own first line, without its place, which stands elsewhere.
fn plain(error: &Error) -> String {
    let message = error.to_string();
    let line = message.lines().next().unwrap_or_default();
    let end = line.rfind(" at line ").unwrap_or(line.len());
    line.get(..end).unwrap_or(line).chars().take(200).collect()
}
