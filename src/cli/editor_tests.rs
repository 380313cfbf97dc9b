use proptest::prelude::*;

use super::*;

/// A terminal that knows what the editor uses: characters, backspace, carriage return and line feed.
#[derive(Default)]
struct Screen {
    row: Vec<char>,
    cursor: usize,
}

impl Screen {
    fn show(&mut self, bytes: &[u8]) {
        for c in String::from_utf8(bytes.to_vec()).unwrap().chars() {
            match c {
                '\r' => self.cursor = 0,
                '\n' => self.row.clear(),
                '\u{8}' => self.cursor = self.cursor.checked_sub(1).expect("a backspace at the first column"),
                '\u{7}' => {}
                c => {
                    assert!(!c.is_control(), "{c:?}");
                    if self.cursor == self.row.len() {
                        self.row.push(c);
                    } else {
                        self.row[self.cursor] = c;
                    }
                    self.cursor += 1;
                }
            }
        }
    }

    fn row(&self) -> String {
        self.row.iter().collect::<String>().trim_end().to_owned()
    }
}

struct Terminal {
    editor: Editor,
    screen: Screen,
    events: Vec<Event>,
}

impl Terminal {
    fn new() -> Self {
        Self { editor: Editor::default(), screen: Screen::default(), events: Vec::new() }
    }

    fn key(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            let mut out = Vec::new();
            let event = self.editor.feed(*byte, &mut out);
            self.screen.show(&out);
            self.events.extend(event);
        }
        self
    }

    /// What is on the screen is the line, and the cursor is where it is.
    fn agrees(&self) {
        let line: String = self.editor.line.iter().collect();
        assert_eq!(self.screen.row(), line.trim_end());
        assert_eq!(self.screen.cursor, self.editor.cursor);
    }

    fn lines(&self) -> Vec<&str> {
        let line = |event: &'_ Event| matches!(event, Event::Line(_));
        self.events
            .iter()
            .filter(|event| line(event))
            .map(|event| match event {
                Event::Line(line) => line.as_str(),
                _ => "",
            })
            .collect()
    }
}

#[test]
fn what_is_typed_at_the_end_is_echoed_and_nothing_else() {
    let mut editor = Editor::default();
    let mut out = Vec::new();
    for byte in b"show version" {
        assert_eq!(editor.feed(*byte, &mut out), None);
    }
    assert_eq!(out, b"show version");
    assert_eq!(editor.feed(b'\r', &mut out), Some(Event::Line("show version".into())));
    assert_eq!(out, b"show version\r\n");
}

#[test]
fn each_way_of_writing_enter_is_one() {
    for end in [&b"\r"[..], b"\n", b"\r\n", b"\r\0"] {
        let mut terminal = Terminal::new();
        terminal.key(b"one").key(end).key(b"two").key(end);
        assert_eq!(terminal.lines(), ["one", "two"], "{end:?}");
    }
    assert_eq!(Terminal::new().key(b"\r\r\n\n").lines(), ["", "", ""]);
}

#[test]
fn the_keys_of_emacs_move_and_delete() {
    let mut terminal = Terminal::new();
    terminal.key(b"server real mx1").key(b"\x01").key(b"no \x05 10.0.0.1");
    terminal.agrees();
    terminal.key(b"\x17").key(b"\x1bb\x1bb").key(b"\x1bd");
    terminal.agrees();
    terminal.key(b"\r");
    assert_eq!(terminal.lines(), ["no server  mx1 "]);
    let mut terminal = Terminal::new();
    terminal.key(b"abcd\x1b[D\x1b[D\x7f\x1b[3~\x02x\x14");
    terminal.agrees();
    terminal.key(b"\r");
    assert_eq!(terminal.lines(), ["axd"]);
}

#[test]
fn what_was_cut_comes_back() {
    let mut terminal = Terminal::new();
    terminal.key(b"one two\x15\x19\x19\x02\x0b\r");
    assert_eq!(terminal.lines(), ["one twoone tw"]);
}

#[test]
fn old_lines_come_back_and_the_new_one_is_not_lost() {
    let mut terminal = Terminal::new();
    terminal.key(b"first\rsecond line\rsecond line\r  \rnew");
    terminal.key(b"\x1b[A");
    assert_eq!(terminal.screen.row(), "second line");
    terminal.agrees();
    terminal.key(b"\x10");
    assert_eq!(terminal.screen.row(), "first");
    terminal.agrees();
    terminal.key(b"\x10");
    assert_eq!(terminal.screen.row(), "first", "there is no older one");
    terminal.key(b"\x1bOB\x0e");
    assert_eq!(terminal.screen.row(), "new");
    terminal.agrees();
    assert_eq!(terminal.editor.history().collect::<Vec<_>>(), ["first", "second line"]);
}

#[test]
fn help_and_completion_see_the_line_up_to_the_cursor() {
    let mut terminal = Terminal::new();
    terminal.key(b"show ?ver\t\x1b[D?");
    assert_eq!(
        terminal.events,
        [Event::Help("show ".into()), Event::Tab("show ver".into()), Event::Help("show ve".into()),]
    );
}

#[test]
fn a_question_mark_that_is_meant_is_quoted() {
    assert_eq!(Terminal::new().key(b"/index\\?.html /a\x16?b\r").lines(), ["/index\\?.html /a?b"]);
}

#[test]
fn a_password_is_not_shown_nor_remembered_and_may_have_a_question_mark() {
    let mut terminal = Terminal::new();
    terminal.editor.secret = true;
    terminal.key(b"old?\x7f\x10");
    assert_eq!((terminal.screen.row().as_str(), terminal.screen.cursor), ("", 0));
    terminal.key(b"!\r");
    assert_eq!(terminal.lines(), ["old!"]);
    assert_eq!(terminal.editor.history().count(), 0);
}

#[test]
fn in_a_script_nobody_asks_for_help() {
    let mut terminal = Terminal::new();
    terminal.editor.script = true;
    assert_eq!(terminal.key(b"show\tserver | include a?b\n").events, [Event::Line("show server | include a?b".into())]);
}

#[test]
fn what_is_put_back_is_drawn_once() {
    let mut terminal = Terminal::new();
    terminal.key(&[b'a'; 2_000]).key(b"\x15");
    terminal.key(&[b'b'; 2_000]).key(b"\x01");
    let mut out = Vec::new();
    terminal.editor.feed(0x19, &mut out);
    assert!(out.len() < 10_000, "{}", out.len());
}

#[test]
fn the_keys_that_leave() {
    let mut terminal = Terminal::new();
    terminal.key(b"drop me\x03x\x04\x7fexit\x1a\x04");
    assert_eq!(terminal.events, [Event::Interrupt, Event::End("exit".into()), Event::Leave]);
}

#[test]
fn letters_of_several_bytes_are_one_and_what_is_no_letter_is_dropped() {
    let mut terminal = Terminal::new();
    terminal.key("grün€".as_bytes()).key(b"\x7f\xff\xc3(\xe2\x82x");
    terminal.agrees();
    assert_eq!(terminal.key(b"\r").lines(), ["grün(x"]);
}

#[test]
fn a_line_has_an_end() {
    let mut terminal = Terminal::new();
    terminal.key(&vec![b'a'; LINE_MAX + 10]).key(b"\r");
    assert_eq!(terminal.lines()[0].len(), LINE_MAX);
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![4 => 0x20..0x7f_u8, 2 => 0..0x20_u8, 1 => any::<u8>(), 2 => Just(b'\x1b'), 1 => Just(b'[')]
}

proptest! {
    /// Whatever comes: the screen shows the line, and nothing grows without end.
    #[test]
    fn any_bytes_leave_screen_and_line_the_same(bytes in proptest::collection::vec(byte(), 0..300)) {
        let mut terminal = Terminal::new();
        for byte in bytes {
            terminal.key(&[byte]);
            if terminal.editor.pending == Pending::Nothing {
                terminal.agrees();
            }
        }
        prop_assert!(terminal.editor.history.len() <= HISTORY_MAX);
    }
}
