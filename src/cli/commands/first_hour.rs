//! What `docs/first-hour.md` and the recorded sessions say to type can be typed.

use std::path::{Path, PathBuf};

use super::{ADMIN, grammar};
use crate::cli::grammar::matcher::{NoObjects, split_pipe};
use crate::cli::notation::{Draft, Next};
use crate::cli::pipe::Pipe;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn is_command(line: &str) -> Result<(), String> {
    let (text, pipe) = split_pipe(line);
    pipe.map(Pipe::read).transpose()?;
    grammar(ADMIN).find(text, &NoObjects).map(drop).map_err(|why| why.to_string())
}

/// The place and the words of a line of a session; `None` for an answer.
fn typed(line: &str) -> Option<(Option<&str>, &str)> {
    let rest = line.strip_prefix("lb1").or_else(|| line.strip_prefix("lb2"))?;
    match rest.strip_prefix('(') {
        Some(rest) => rest.split_once(")#").map(|(place, words)| (Some(place), words)),
        None => rest.strip_prefix('#').map(|words| (None, words)),
    }
}

#[test]
fn every_line_of_the_sessions_is_accepted_where_it_is_typed() {
    let mut lines = 0;
    for entry in std::fs::read_dir(docs().join("sessions")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut draft = Draft::new(serde_json::Value::Null);
        for line in text.lines() {
            let Some((place, words)) = typed(line) else { continue };
            lines += 1;
            let result = match place {
                None => {
                    draft = Draft::new(serde_json::Value::Null);
                    is_command(words)
                }
                Some(place) => {
                    assert_eq!(draft.place.shown(), place, "{}: {line}", path.display());
                    match draft.apply(words) {
                        Ok(Next::Do(words)) => is_command(&words),
                        Ok(Next::Stay | Next::Leave) => Ok(()),
                        Err(why) => Err(why.to_string()),
                    }
                }
            };
            result.unwrap_or_else(|why| panic!("{}: {line}: {why}", path.display()));
        }
    }
    assert!(lines > 80, "only {lines} lines were typed");
}

/// Ways to each mode of the configuration.
const PLACES: [&[&str]; 6] = [
    &[],
    &["server real r"],
    &["server pool p"],
    &["server virtual v"],
    &["server virtual v", "service s"],
    &["server backup"],
];

fn is_accepted_somewhere(line: &str) -> bool {
    let typed = |place: &&[&str]| {
        let mut draft = Draft::new(serde_json::Value::Null);
        draft.apply_all(place.iter().copied()).is_ok() && draft.apply(line).is_ok()
    };
    is_command(line).is_ok() || PLACES.iter().any(typed)
}

/// What stands between backquotes.
fn codes(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(|code| code.replace("\\|", "|"))
}

#[test]
fn every_command_of_the_table_for_serveriron_admins_is_accepted() {
    let page = std::fs::read_to_string(docs().join("first-hour.md")).unwrap();
    let (_, table) = page.split_once("| on a ServerIron | here |").unwrap();
    let mut commands = 0;
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        // A bar within a cell is written with a backslash.
        let cells: Vec<String> = row.replace("\\|", "\u{1}").split('|').map(|c| c.replace('\u{1}', "|")).collect();
        for line in codes(&cells[2]) {
            // Named as the place of the command before it.
            assert!(is_accepted_somewhere(&line), "`{line}` in {row}");
            commands += 1;
        }
    }
    assert!(commands > 50, "only {commands} commands were found");
}

/// Commands in the running text: those of two words and more that begin as ours do.
#[test]
fn every_command_of_the_text_is_accepted() {
    let page = std::fs::read_to_string(docs().join("first-hour.md")).unwrap();
    let (text, _) = page.split_once("## On a ServerIron you typed").unwrap();
    let text: String = text.lines().filter(|line| !line.starts_with("    ")).map(|line| format!("{line}\n")).collect();
    // What is said of ServerIrons and of other programs.
    let others = ["server force-delete", "port … disable", "reload in 10", "lbd console", "make lab", "make record"];
    let commands: Vec<String> =
        codes(&text).filter(|code| code.contains(' ') && !others.contains(&code.as_str())).collect();
    for line in &commands {
        assert!(is_accepted_somewhere(line), "`{line}`");
    }
    assert!(commands.len() > 20, "only {} commands were found", commands.len());
}
