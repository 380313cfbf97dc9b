//! The configuration as a YAML file.
//!
//! ```text
//! text → raw structure → Config → validate
//!        (raw, leaf)     (convert, notation)
//! ```
//!
//! The raw structure knows what may stand where and keeps the place of every
//! value; an error in it ends the reading. Everything after that is collected,
//! so that an operator sees all that is wrong at once.

mod check;
pub(crate) mod choice;
mod convert;
mod leaf;
mod notation;
mod places;
mod raw;
mod schema;
mod syntax;
mod write;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Read;
use std::path::Path;

use self::places::Places;
use self::raw::RawConfig;
use super::Config;
use super::diagnostic::{self, Complaint, DIAGNOSTICS_MAX, Diagnostic, Finding, KeyPath, Refused, Severity};
use super::limits::FILE_BYTES_MAX;
use super::validate::validate;

/// A time as the configuration writes it, `30m`, for other notations; why it is none.
pub fn time(text: &str, range: super::limits::Range) -> Result<std::time::Duration, String> {
    use self::notation::Notation;
    let told = |complaint: Complaint| match complaint.help {
        Some(help) => format!("{}; {help}", complaint.message),
        None => complaint.message,
    };
    let value = notation::Time::<0, { u32::MAX }>::read(text).map_err(told)?;
    super::validate::check_time(value, range).map_err(told)?;
    Ok(value)
}

pub use self::schema::json_schema;
pub use self::write::to_yaml;

/// A configuration that can be run, and what looks doubtful in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// In the order of the file.
    pub warnings: Vec<Diagnostic>,
    /// How many more warnings there are, left out of the list.
    pub omitted: usize,
    file: String,
    text: String,
}

impl Loaded {
    /// What was read, without a byte order mark.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The warnings as a person reads them, with the lines that they are about; empty without any.
    pub fn render_warnings(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = diagnostic::write_diagnostics(&mut out, &self.file, &self.text, &self.warnings, self.omitted);
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
    let refused =
        |diagnostics, omitted| Refused { file: file_name.to_owned(), text: text.to_owned(), diagnostics, omitted };
    let raw: RawConfig = match serde_yaml::from_str_with_options(text, options()) {
        Ok(raw) => raw,
        Err(error) => return Err(refused(vec![syntax::diagnostic(&error, text)], 0)),
    };
    let (config, reading) = convert::convert(&raw);
    let mut diagnostics = reading.refused;
    if reading.missing.len() <= MISSING_MAX {
        let found = validate(&config).into_iter().filter(|finding| stands_without(finding, &reading.missing));
        diagnostics.extend(found.map(|finding| placed(finding, &reading.places)));
    }
    let is_error = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Error;
    let is_refused = diagnostics.iter().any(is_error);
    if is_refused {
        // Warnings beside errors are mostly their consequences.
        diagnostics.retain(is_error);
    }
    diagnostics.sort_by_key(Diagnostic::start);
    let omitted = diagnostics.len().saturating_sub(DIAGNOSTICS_MAX);
    diagnostics.truncate(DIAGNOSTICS_MAX);
    if is_refused {
        return Err(refused(diagnostics, omitted));
    }
    Ok(Loaded { config, warnings: diagnostics, omitted, file: file_name.to_owned(), text: text.to_owned() })
}

/// Reads a text that need not be a whole configuration: whether it can work is not looked at.
pub fn read_part(name: &str, text: &str) -> Result<Config, Refused> {
    let refused = |diagnostics| Refused { file: name.to_owned(), text: text.to_owned(), diagnostics, omitted: 0 };
    let raw: RawConfig = match serde_yaml::from_str_with_options(text, options()) {
        Ok(raw) => raw,
        Err(error) => return Err(refused(vec![syntax::diagnostic(&error, text)])),
    };
    let (config, mut reading) = convert::convert(&raw);
    reading.refused.truncate(DIAGNOSTICS_MAX);
    if reading.refused.is_empty() { Ok(config) } else { Err(refused(reading.refused)) }
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

/// It is not merely the consequence of what could not be read.
fn stands_without(finding: &Finding, missing: &[KeyPath]) -> bool {
    let depends = |at: &KeyPath| missing.iter().any(|missing| at.is_within(missing) || missing.is_within(at));
    !depends(&finding.at) && !finding.related.iter().any(|(at, _)| depends(at))
}

fn placed(finding: Finding, places: &Places) -> Diagnostic {
    let span = places.near(&finding.at);
    let mut diagnostic = Diagnostic::new(finding.severity, &finding.at, finding.complaint, span);
    for (at, label) in finding.related {
        if let Some(span) = places.of(&at) {
            diagnostic.relate(span, label);
        }
    }
    diagnostic
}

impl Refused {
    /// All of it, for one reason that has no place in it.
    pub(crate) fn whole(file: &str, complaint: Complaint) -> Self {
        let diagnostic = Diagnostic::new(Severity::Error, &KeyPath::root(), complaint, None);
        Self { file: file.to_owned(), diagnostics: vec![diagnostic], omitted: 0, text: String::new() }
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
