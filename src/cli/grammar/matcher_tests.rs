use super::super::syntax::compile;
use super::*;

struct Site;

impl Objects for Site {
    fn names(&self, kind: Kind) -> Vec<String> {
        let names: &[&str] = match kind {
            Kind::Real => &["d", "mx1", "mx2"],
            Kind::Virtual => &["mail"],
            Kind::Pool => &[],
        };
        names.iter().map(|name| (*name).to_owned()).collect()
    }
}

const TABLE: &[(&str, &[&str])] = &[
    ("show server real [REAL] [detail]", &["Show", "Servers", "Real servers", "One", "All of it"]),
    ("show server virtual [VIRTUAL]", &["Show", "Servers", "Virtual servers", "One"]),
    ("show sessions", &["Show", "Sessions"]),
    ("[no] shutdown", &["Negate", "Stop"]),
    ("weight 1-1000", &["Share", "Of new connections"]),
    ("description LINE", &["Words about it", "Text"]),
    ("on-failure <reset|keep>", &["Of a member", "Reset", "Keep"]),
    ("bind PORT (REAL PORT)...", &["Bind", "Port", "Server", "Its port"]),
    ("address <IP|PREFIX>", &["Address", "One", "Many"]),
];

fn table() -> Vec<Compiled<&'static str>> {
    TABLE.iter().map(|(syntax, help)| Compiled { graph: compile(syntax, help).unwrap(), command: *syntax }).collect()
}

fn with<T>(act: impl FnOnce(&Grammar<'_, &'static str>) -> T) -> T {
    let table = table();
    act(&Grammar { commands: table.iter().collect() })
}

fn find(line: &str) -> Result<(&'static str, Vec<String>), NoMatch> {
    with(|grammar| {
        let (command, args) = grammar.find(line, &Site)?;
        Ok((*command, args.0.into_iter().map(|typed| typed.text).collect()))
    })
}

fn invalid(line: &str) -> (usize, Option<String>) {
    match find(line) {
        Err(NoMatch::Invalid { at, why }) => (at, why),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn words_are_cut_at_blanks_and_kept_together_by_quotes() {
    let found: Vec<(String, usize)> =
        words(r#"  a "b  c" d"e f"g "" "open x"#).into_iter().map(|w| (w.text, w.at)).collect();
    let expected = [("a", 2), ("b  c", 4), ("de fg", 11), ("", 19), ("open x", 22)];
    assert_eq!(found, expected.map(|(text, at)| (text.to_owned(), at)));
}

proptest::proptest! {
    #[test]
    fn any_text_can_be_typed_as_one_word(text in "[^\u{0}-\u{1f}\u{7f}-\u{9f}]{0,40}") {
        let line = format!("a {} b", quoted(&text));
        let found: Vec<String> = words(&line).into_iter().map(|word| word.text).collect();
        proptest::prop_assert_eq!(found, ["a", text.as_str(), "b"]);
    }
}

#[test]
fn every_abbreviation_that_is_of_one_word_finds_it() {
    for line in ["show server real mx1 detail", "SHOW Server REAL mx1 DETAIL", "sho ser r mx1 de"] {
        let (command, typed) = find(line).unwrap();
        assert_eq!(command, TABLE[0].0, "{line}");
        assert_eq!(typed, ["show", "server", "real", "mx1", "detail"]);
    }
}

#[test]
fn a_beginning_of_two_words_is_ambiguous_whatever_follows() {
    assert_eq!(find("sh server"), Err(NoMatch::Ambiguous("sh".into())));
    assert_eq!(find("show se real"), Err(NoMatch::Ambiguous("se".into())));
    assert_eq!(find("sh").unwrap_err().to_string(), "% Ambiguous command:  \"sh\"");
}

#[test]
fn the_name_of_an_object_wins_over_the_beginning_of_a_word() {
    assert_eq!(find("show server real d").unwrap().1.last().unwrap(), "d");
    assert_eq!(find("show server real de").unwrap().1.last().unwrap(), "detail");
    assert_eq!(find("show server real d d").unwrap().1, ["show", "server", "real", "d", "detail"]);
}

#[test]
fn a_mistake_is_marked_where_it_is_and_a_value_says_what_is_wrong() {
    assert_eq!(invalid("show sarver real"), (5, None));
    assert_eq!(invalid("show server real mx1 detail x"), (28, None));
    assert_eq!(invalid("weight 1001"), (7, Some("1001 is not within 1 to 1000".into())));
    assert_eq!(invalid("bind smtp mx1 70000").0, 14);
    assert_eq!(invalid("address x"), (8, None), "two values could stand there");
}

#[test]
fn a_line_that_ends_too_soon_is_incomplete() {
    for line in ["show", "show server", "weight", "bind smtp", "bind smtp mx1", "on-failure", "no"] {
        assert_eq!(find(line), Err(NoMatch::Incomplete), "{line}");
    }
}

#[test]
fn what_is_repeated_is_all_there() {
    assert_eq!(find("bind smtp mx1 25 mx2 2525").unwrap().1, ["bind", "smtp", "mx1", "25", "mx2", "2525"]);
}

#[test]
fn a_line_of_text_is_taken_as_it_stands() {
    assert_eq!(find("desc  a  \"b\" | c  ").unwrap().1, ["description", "a  \"b\" | c"]);
}

#[test]
fn arguments_are_found_by_what_was_typed() {
    with(|grammar| {
        let (_, args) = grammar.find("no shut", &Site).unwrap();
        assert!(args.has("no") && args.has("shutdown") && !args.has("shut"));
        let (_, args) = grammar.find("bind smtp mx1 25", &Site).unwrap();
        assert_eq!((args.after("bind"), args.value(1), args.value(9)), (Some("smtp"), Some("mx1"), None));
    });
}

fn help(line: &str) -> Help {
    with(|grammar| grammar.help(line, &Site)).unwrap()
}

#[test]
fn help_inside_a_word_lists_what_begins_so() {
    assert_eq!(help("sh"), Help::Words(vec!["show".into(), "shutdown".into()]));
    assert_eq!(help("show server real m"), Help::Words(vec!["mx1".into(), "mx2".into()]));
    assert_eq!(help("weight 5"), Help::Next(vec![("<1-1000>".into(), "Of new connections".into())]));
}

#[test]
fn help_after_a_blank_lists_what_may_come_next() {
    let next = |shown: &[(&str, &str)]| Help::Next(shown.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect());
    assert_eq!(help("show "), next(&[("server", "Servers"), ("sessions", "Sessions")]));
    assert_eq!(help("show server real "), next(&[("detail", "All of it"), ("REAL", "One"), (END, "")]));
    assert_eq!(help("description some "), next(&[(END, "")]));
    let Help::Next(all) = help("") else { panic!() };
    assert_eq!(all.len(), TABLE.len() - 1, "each word once, and an empty line is no command: {all:?}");
    assert!(with(|grammar| grammar.help("show nosuch ", &Site)).is_err());
}

#[test]
fn tab_adds_what_is_certain() {
    let complete = |line: &str| with(|grammar| grammar.complete(line, &Site));
    assert_eq!(complete("sho"), "w ");
    assert_eq!(complete("sh"), "");
    assert_eq!(complete("show s"), "e");
    assert_eq!(complete("show server real m"), "x");
    assert_eq!(complete("show server real mx1"), " ");
    assert_eq!(complete("show server virtual "), "");
    assert_eq!(complete("nosuch x"), "");
}

/// In place of every word any of its beginnings: it is found, or it is ambiguous, and never something else.
#[test]
fn no_abbreviation_of_a_command_is_another_one() {
    for (syntax, line) in [
        (TABLE[0].0, "show server real mx1 detail"),
        (TABLE[1].0, "show server virtual mail"),
        (TABLE[2].0, "show sessions"),
        (TABLE[3].0, "no shutdown"),
        (TABLE[6].0, "on-failure reset"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        for at in 0..words.len() {
            for length in 1..=words[at].len() {
                let mut words = words.clone();
                words[at] = &words[at][..length];
                match find(&words.join(" ")) {
                    Ok((found, _)) => assert_eq!(found, syntax, "{words:?}"),
                    Err(error) => assert!(length < line.len() && !matches!(error, NoMatch::Incomplete), "{words:?}"),
                }
            }
        }
    }
}

#[test]
fn a_pipe_in_quotes_is_a_letter() {
    assert_eq!(split_pipe("show x | include y|z"), ("show x ", Some(" include y|z")));
    assert_eq!(split_pipe(r#"check body "a|b""#), (r#"check body "a|b""#, None));
    assert_eq!(split_pipe(r#"show "\"|" | count x"#), (r#"show "\"|" "#, Some(" count x")));
    assert_eq!(split_pipe(r"show \|x"), (r"show \|x", None));
}
