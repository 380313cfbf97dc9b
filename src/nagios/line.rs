//! The one line, and the exit status.

use std::fmt;

use super::Range;

/// Longest line; Nagios reads 8 KiB of a plugin, older agents less.
const TEXT_CHARS_MAX: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Ok,
    Warning,
    Critical,
    Unknown,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// A number with a name; both thresholds are of the convention's place for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Datum {
    pub label: String,
    pub value: f64,
    /// `s`, or nothing.
    pub unit: &'static str,
    pub warning: Option<Range>,
    pub critical: Option<Range>,
    pub max: Option<f64>,
}

impl Datum {
    pub fn new(label: &str, value: f64) -> Self {
        Self { label: label.to_owned(), value, unit: "", warning: None, critical: None, max: None }
    }
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In quotes where there is a blank; without what ends a label.
        let label: String = self.label.chars().filter(|c| !"'=|".contains(*c) && !c.is_control()).collect();
        let label = if label.contains(' ') { format!("'{label}'") } else { label };
        let range = |range: &Option<Range>| range.map_or(String::new(), |range| range.to_string());
        let max = self.max.map_or(String::new(), |max| format!(";{max}"));
        let (warning, critical) = (range(&self.warning), range(&self.critical));
        write!(f, "{label}={}{};{warning};{critical};0{max}", self.value, self.unit)
    }
}

/// What is printed, and the exit status.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub status: Status,
    what: String,
    text: String,
    data: Vec<Datum>,
}

impl Verdict {
    pub fn new(status: Status, text: impl Into<String>, data: Vec<Datum>) -> Self {
        Self { status, what: String::new(), text: text.into(), data }
    }

    pub fn unknown(why: &str) -> Self {
        Self::new(Status::Unknown, why, Vec::new())
    }

    /// Of what it is.
    pub fn about(self, what: &str) -> Self {
        Self { what: format!(" {what}"), ..self }
    }

    /// 0 to 3.
    pub fn exit_status(&self) -> u8 {
        self.status as u8
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A bar begins the data, and a second line is another kind of text.
        let plain = |c: char| if c == '|' || c.is_control() { ' ' } else { c };
        let text: String = self.text.chars().map(plain).take(TEXT_CHARS_MAX).collect();
        write!(f, "LBD{} {} - {text}", self.what, self.status.word())?;
        if !self.data.is_empty() {
            f.write_str(" |")?;
        }
        self.data.iter().try_for_each(|datum| write!(f, " {datum}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_has_one_bar() {
        let datum = Datum {
            warning: Some(Range::new("4:").unwrap()),
            critical: Some(Range::new("1:").unwrap()),
            max: Some(4.0),
            ..Datum::new("up", 3.0)
        };
        let odd = Datum { unit: "s", ..Datum::new("a 'b'=|c", 0.25) };
        let verdict = Verdict::new(Status::Warning, "one|two\nthree", vec![datum, odd]).about("POOL");
        assert_eq!(verdict.to_string(), "LBD POOL WARNING - one two three | up=3;4:;1:;0;4 'a bc'=0.25s;;;0");
        assert_eq!(verdict.exit_status(), 1);
        let long = Verdict::unknown(&"x".repeat(10_000));
        assert!(long.to_string().len() < 1_100 && long.exit_status() == 3);
    }
}
