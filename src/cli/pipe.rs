//! What stands behind `|`: lines that are left out, or counted.

use regex::{Regex, RegexBuilder};

/// Longest pattern, in bytes, and what its automaton may take.
const PATTERN_MAX: usize = 256;
const AUTOMATON_MAX: usize = 1 << 20;

/// The filters by their names, with a line of help.
pub const FILTERS: [(&str, &str); 6] = [
    ("begin", "Begin with the line that matches"),
    ("count", "Count the lines that match"),
    ("exclude", "Leave out lines that match"),
    ("include", "Lines that match"),
    ("json", "The whole as JSON, with the names of the API"),
    ("section", "Sections whose first line matches"),
];

/// A filter of lines.
#[derive(Debug)]
pub enum Filter {
    Begin {
        pattern: Regex,
        begun: bool,
    },
    Count {
        pattern: Regex,
        lines: u64,
    },
    Exclude(Regex),
    Include(Regex),
    /// The indent of the section that is shown.
    Section {
        pattern: Regex,
        shown: Option<usize>,
    },
}

/// What stands behind a `|`.
#[derive(Debug)]
pub enum Pipe {
    Json,
    Lines(Filter),
}

impl Pipe {
    /// Reads `include smtp` and the like; else what to tell.
    pub fn read(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let pattern = rest.trim().trim_matches('"');
        let found: Vec<&str> =
            FILTERS.iter().map(|(name, _)| *name).filter(|name| !word.is_empty() && name.starts_with(word)).collect();
        let name = match found.as_slice() {
            [name] => *name,
            [] if word.is_empty() => return Err("% Incomplete command.".into()),
            [] => return Err(format!("% Invalid input behind '|': {word}; there are {}", names())),
            _ => return Err(format!("% Ambiguous command:  \"{word}\"")),
        };
        if name == "json" {
            return if pattern.is_empty() { Ok(Self::Json) } else { Err("% json takes no pattern".into()) };
        }
        if pattern.is_empty() {
            return Err("% Incomplete command.".into());
        }
        let pattern = compile(pattern)?;
        Ok(Self::Lines(match name {
            "begin" => Filter::Begin { pattern, begun: false },
            "count" => Filter::Count { pattern, lines: 0 },
            "exclude" => Filter::Exclude(pattern),
            "include" => Filter::Include(pattern),
            _ => Filter::Section { pattern, shown: None },
        }))
    }
}

fn names() -> String {
    FILTERS.map(|(name, _)| name).join(", ")
}

fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_MAX {
        return Err(format!("% The pattern is longer than {PATTERN_MAX} bytes"));
    }
    let built = RegexBuilder::new(pattern).size_limit(AUTOMATON_MAX).dfa_size_limit(AUTOMATON_MAX).build();
    built.map_err(|_| format!("% {pattern} is no regular expression"))
}

impl Filter {
    /// Whether a line is shown.
    pub fn passes(&mut self, line: &str) -> bool {
        match self {
            Self::Begin { pattern, begun } => {
                *begun |= pattern.is_match(line);
                *begun
            }
            Self::Count { pattern, lines } => {
                *lines += u64::from(pattern.is_match(line));
                false
            }
            Self::Exclude(pattern) => !pattern.is_match(line),
            Self::Include(pattern) => pattern.is_match(line),
            Self::Section { pattern, shown } => {
                let indent = line.len() - line.trim_start().len();
                if pattern.is_match(line) && shown.is_none_or(|own| indent <= own) {
                    *shown = Some(indent);
                } else if shown.is_some_and(|own| indent <= own) {
                    *shown = None;
                }
                shown.is_some()
            }
        }
    }

    /// What is told at the end.
    pub fn end(&self) -> Option<String> {
        match self {
            Self::Count { lines, .. } => Some(format!("Number of lines which match regexp = {lines}")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: [&str; 7] =
        ["hostname lb1", "server real mx1", " ip-address 10.1.0.11", "!", "server pool mx", " member mx1", "end"];

    fn through(text: &str) -> Vec<String> {
        let Ok(Pipe::Lines(mut filter)) = Pipe::read(text) else { panic!("{text}") };
        let mut lines: Vec<String> = CONFIG.iter().filter(|line| filter.passes(line)).map(|l| (*l).into()).collect();
        lines.extend(filter.end());
        lines
    }

    #[test]
    fn each_filter_does_what_its_name_says() {
        assert_eq!(through("include mx1"), ["server real mx1", " member mx1"]);
        assert_eq!(through("inc ^server"), ["server real mx1", "server pool mx"]);
        assert_eq!(through("exclude mx|!"), ["hostname lb1", " ip-address 10.1.0.11", "end"]);
        assert_eq!(through("begin pool"), ["server pool mx", " member mx1", "end"]);
        assert_eq!(through("section server real"), ["server real mx1", " ip-address 10.1.0.11"]);
        assert_eq!(through("sec member"), [" member mx1"]);
        assert_eq!(through("count server"), ["Number of lines which match regexp = 2"]);
        assert!(matches!(Pipe::read(" json "), Ok(Pipe::Json)));
    }

    #[test]
    fn a_mistake_is_told_in_the_words_of_the_rest() {
        for (text, expected) in [
            ("", "% Incomplete command."),
            ("include", "% Incomplete command."),
            ("nosuch x", "% Invalid input behind '|': nosuch; there are begin, count, exclude, include, json, section"),
            ("include (", "% ( is no regular expression"),
            ("json x", "% json takes no pattern"),
        ] {
            assert_eq!(Pipe::read(text).unwrap_err(), expected, "{text:?}");
        }
        assert!(Pipe::read(&format!("include {}", "a".repeat(300))).is_err());
        assert!(Pipe::read("include (a{1000}){1000}").is_err(), "it would take a gigabyte");
    }
}
