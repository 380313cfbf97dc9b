//! Commands about the session itself.

use super::{ADMIN, Change, Entry, Run, USER};
use crate::cli::grammar::matcher::Args;

fn number(args: &Args) -> usize {
    // The grammar lets nothing else through.
    args.value(0).and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub const ENTRIES: &[Entry] = &[
    Entry {
        level: USER,
        syntax: "enable",
        help: &["Turn on privileged commands"],
        run: Run::Session(|_| Change::Enable),
    },
    Entry {
        level: ADMIN,
        syntax: "disable",
        help: &["Turn off privileged commands"],
        run: Run::Session(|_| Change::Disable),
    },
    Entry { level: USER, syntax: "exit", help: &["Exit from the EXEC"], run: Run::Session(|_| Change::Leave) },
    Entry { level: USER, syntax: "logout", help: &["Exit from the EXEC"], run: Run::Session(|_| Change::Leave) },
    Entry { level: USER, syntax: "quit", help: &["Exit from the EXEC"], run: Run::Session(|_| Change::Leave) },
    Entry { level: USER, syntax: "help", help: &["How to ask for help"], run: Run::Session(|_| Change::Help) },
    Entry {
        level: USER,
        syntax: "terminal length 0-512",
        help: &["Set up this terminal", "Lines on a page", "0 for no pages"],
        run: Run::Session(|args| Change::Length(number(args))),
    },
    Entry {
        level: USER,
        syntax: "terminal width 0-512",
        help: &["Set up this terminal", "Columns", "0 for no limit"],
        run: Run::Session(|args| Change::Width(number(args))),
    },
    Entry {
        level: ADMIN,
        syntax: "terminal [no] monitor",
        help: &["Set up this terminal", "Undo", "Show what the daemon writes down as it happens"],
        run: Run::Session(|args| Change::Monitor(!args.has("no"))),
    },
    Entry {
        level: USER,
        syntax: "skip-page-display",
        help: &["Do not stop after each page"],
        run: Run::Session(|_| Change::Length(0)),
    },
    Entry {
        level: USER,
        syntax: "page-display",
        help: &["Stop after each page of 24 lines"],
        run: Run::Session(|_| Change::Length(24)),
    },
    Entry {
        level: USER,
        syntax: "show history",
        help: &["Show what there is", "Lines that were typed in this session"],
        run: Run::Session(|_| Change::History),
    },
    Entry {
        level: USER,
        syntax: "show privilege",
        help: &["Show what there is", "The level of this session"],
        run: Run::Session(|_| Change::Privilege),
    },
];
