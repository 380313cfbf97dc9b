//! The manual of the commands, as the table has them.

use super::{ADMIN, Entry, entries};
use crate::cli::grammar::syntax::tokens;

/// What stands above the table in `docs/cli.md`.
const HEAD: &str = "\
# The command line

`lbd console` on the box itself, as root: a session at a terminal, one command (`lbd console show server real`, with exit
status 1 if it is refused), or a script from a pipe. It is the appliance's own socket, `console.sock` in the run directory,
which root alone may open. Over the network the same is behind SSH, for users with levels: [ssh.md](ssh.md). What is typed goes to the
log, with who typed it and whether it was done. The configuration is shown by `show running-config` and typed in
`configure terminal` ([running-config.md](running-config.md)). Whoever comes from a ServerIron begins with [first-hour.md](first-hour.md).

Words may be abbreviated as long as they are of one command alone. `?` says what may come next, also within a word; Tab
completes; the keys are those of emacs; Ctrl-C ends what runs; Ctrl-] leaves a session whose daemon hangs. Behind `|` stand `begin`, `count`, `exclude`, `include`,
`section` with a regular expression, and `json`, which has the names of the [API](http.md). A page ends in `--More--`: blank, enter,
or any other key to stop; `terminal length 0` has no pages, and a script has none.

States of real servers: ACT gets connections, ENB is healthy and gets none, FAL failed, TST under test, DIS disabled, GDN drained.

This page is written by `UPDATE_GOLDEN=1 cargo test --lib the_manual_is_current`; a test holds it against the commands.
";

/// The whole page.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for (title, levels) in [("## Commands for everybody", false), ("## Commands for administrators (`enable`)", true)] {
        page += &format!("\n{title}\n\n| command | |\n|---|---|\n");
        let mut rows: Vec<String> = entries().filter(|entry| (entry.level == ADMIN) == levels).map(row).collect();
        rows.sort();
        page += &rows.concat();
    }
    page
}

/// The last word that is no value says what the command does.
fn row(entry: &Entry) -> String {
    let is_keyword = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
    let says = tokens(entry.syntax).zip(entry.help).filter(|(word, _)| *word != "no" && is_keyword(word));
    // The words of options come after the one that names the command, which is before the first value or bracket.
    let named = entry.syntax.trim_start_matches("[no] ");
    let named = named.split(['[', '<']).next().unwrap_or_default().split(' ').filter(|word| !word.is_empty());
    let named = named.take_while(is_keyword).count();
    let help = says.take(named).last().map_or("", |(_, help)| help);
    format!("| `{}` | {help} |\n", entry.syntax.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::golden::hold;

    #[test]
    fn the_manual_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
        hold(&path, &page()).unwrap_or_else(|difference| panic!("{difference}"));
    }
}
