//! The configuration as a YAML file.
//!
//!     text → raw structure → Config → validate
//!            (raw, leaf)     (convert, notation)
//!
//! The raw structure knows what may stand where and keeps the place of every
//! value; an error in it ends the reading. Everything after that is collected,
//! so that an operator sees all that is wrong at once.

pub(crate) mod choice;
mod convert;
mod leaf;
mod notation;
mod raw;
mod schema;
mod syntax;
mod write;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Read;
use std::path::Path;

use self::convert::Reading;
use self::raw::RawConfig;
use super::Config;
use super::diagnostic::{self, Complaint, Diagnostic, Finding, KeyPath, Refused, Severity, Span};
use super::limits::FILE_BYTES_MAX;
use super::validate::validate;

pub use self::schema::json_schema;
pub use self::write::to_yaml;

/// A configuration that can be run, and what looks doubtful in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// In the order of the file.
    pub warnings: Vec<Diagnostic>,
    file: String,
    text: String,
}

impl Loaded {
    /// The warnings as a person reads them, with the lines that they are about; empty without any.
    pub fn render_warnings(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = diagnostic::write_diagnostics(&mut out, &self.file, &self.text, &self.warnings);
        out
    }
}

/// Reads a file.
pub fn load(path: &Path) -> Result<Loaded, Refused> {
    let name = path.display().to_string();
    match read(path) {
        Ok(text) => parse(&name, &text),
        Err(complaint) => Err(Refused::whole(&name, complaint)),
    }
}

fn read(path: &Path) -> Result<String, Complaint> {
    let unreadable = |error: std::io::Error| {
        Complaint::new(format!("the file cannot be read: {error}")).help("check its name and permissions")
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    if !file.metadata().map_err(unreadable)?.is_file() {
        // A FIFO would make the daemon wait for ever.
        return Err(Complaint::new("this is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(too_large());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count();
        Complaint::new(format!("line {line} is not UTF-8 (byte {valid} of the file)"))
            .help("save the file as UTF-8: `iconv -f latin1 -t utf8`")
    })
}

fn too_large() -> Complaint {
    Complaint::new(format!("the file is larger than {} MiB", FILE_BYTES_MAX / (1024 * 1024)))
}

/// Reads a text; `file_name` is for messages only.
pub fn parse(file_name: &str, text: &str) -> Result<Loaded, Refused> {
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Refused::whole(file_name, too_large()));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let refused = |diagnostics| Refused { file: file_name.to_owned(), text: text.to_owned(), diagnostics };
    let raw: RawConfig = match serde_yaml::from_str_with_options(text, options()) {
        Ok(raw) => raw,
        Err(error) => return Err(refused(vec![syntax::diagnostic(&error, text)])),
    };
    let (config, mut reading) = convert::convert(&raw);
    let missing = std::mem::take(&mut reading.missing);
    if missing.len() <= MISSING_MAX {
        let found = validate(&config).into_iter();
        reading.findings.extend(found.filter(|finding| missing.is_empty() || stands_without(finding, &missing)));
    }
    let diagnostics = placed(&reading);
    if diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
        return Err(refused(diagnostics));
    }
    Ok(Loaded { config, warnings: diagnostics, file: file_name.to_owned(), text: text.to_owned() })
}

/// With more that cannot be read, what cannot work is not looked at: it would be mostly consequences.
const MISSING_MAX: usize = 100;

/// Far above what a site at all limits of `limits` needs, and small enough that no file makes the daemon work for long.
fn options() -> serde_yaml::Options {
    let mut budget = serde_yaml::Budget::default();
    budget.max_events = 2_000_000;
    budget.max_nodes = 1_000_000;
    budget.max_depth = 16;
    let mut options = serde_yaml::Options::default();
    options.budget = Some(budget);
    options.alias_limits.max_total_replayed_events = 200_000;
    options.reject_unsupported_tags = true;
    options.with_snippet = false;
    options
}

/// An error that is not merely the consequence of what could not be read.
fn stands_without(finding: &Finding, missing: &[KeyPath]) -> bool {
    let depends = |at: &KeyPath| missing.iter().any(|missing| at.is_within(missing) || missing.is_within(at));
    finding.severity == Severity::Error && !depends(&finding.at) && !finding.related.iter().any(|(at, _)| depends(at))
}

/// Findings with their places, errors first, each kind in the order of the file.
fn placed(reading: &Reading) -> Vec<Diagnostic> {
    let mut diagnostics: Vec<(Option<Span>, Diagnostic)> = Vec::with_capacity(reading.findings.len());
    for finding in &reading.findings {
        let span = place_of(reading, &finding.at);
        let mut diagnostic = Diagnostic::new(finding.severity, &finding.at, finding.complaint.clone(), span.clone());
        for (at, label) in &finding.related {
            if let Some(span) = exactly(reading, at) {
                diagnostic.relate(span, label.clone());
            }
        }
        diagnostics.push((span, diagnostic));
    }
    diagnostics.sort_by_key(|(span, diagnostic)| {
        (diagnostic.severity == Severity::Warning, span.as_ref().map_or(0, |span| span.bytes.start))
    });
    diagnostics.into_iter().map(|(_, diagnostic)| diagnostic).collect()
}

/// Where it stands; or else what is in it, or what it is in.
fn place_of(reading: &Reading, at: &KeyPath) -> Option<Span> {
    let mut at = at.clone();
    while at != KeyPath::root() {
        if let Some(span) = exactly(reading, &at) {
            return Some(span);
        }
        at = at.parent()?;
    }
    None
}

fn exactly(reading: &Reading, at: &KeyPath) -> Option<Span> {
    /// The first of an object's values is among the first of its keys by name, if not the first of the file.
    const LOOKED_AT_MAX: usize = 100;
    let below = reading.places.range(at..).take_while(|(path, _)| path.as_str().starts_with(at.as_str()));
    reading.places.get(at).cloned().or_else(|| {
        let within = below.filter(|(path, _)| path.is_within(at)).take(LOOKED_AT_MAX);
        within.map(|(_, span)| span.clone()).min_by_key(|span| span.bytes.start)
    })
}

impl Refused {
    fn whole(file: &str, complaint: Complaint) -> Self {
        let diagnostic = Diagnostic::new(Severity::Error, &KeyPath::root(), complaint, None);
        Self { file: file.to_owned(), diagnostics: vec![diagnostic], text: String::new() }
    }
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        let services: usize = config.virtual_servers.values().map(|entry| entry.services.len()).sum();
        write!(
            f,
            "{}: {} servers, {} pools, {} virtual servers, {services} services",
            self.file,
            config.servers.len(),
            config.pools.len(),
            config.virtual_servers.len()
        )
    }
}
