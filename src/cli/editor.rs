//! The line editor: bytes of a terminal in, bytes for it and events out. No I/O, no clock.
//!
//! What programs and people type at the end of a line is echoed byte by byte and nothing else: scrapers wait for
//! exactly that. Only changes within a line are drawn anew, by backspaces and blanks, which every terminal knows.

use std::collections::VecDeque;

/// Longest line, in characters.
const LINE_MAX: usize = 4_096;
/// Lines that are remembered.
const HISTORY_MAX: usize = 50;
/// Longest sequence after an escape; a longer one is none.
const SEQUENCE_MAX: usize = 16;

const BELL: u8 = 7;
const BACKSPACE: u8 = 8;
const ESCAPE: u8 = 27;

/// What a key asked for, beyond the line itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Enter.
    Line(String),
    /// `?`: the line up to the cursor.
    Help(String),
    /// Tab: the line up to the cursor.
    Tab(String),
    /// Ctrl-C: the line is dropped.
    Interrupt,
    /// Ctrl-Z: the line is to be done, and then as with `end`.
    End(String),
    /// Ctrl-D on an empty line.
    Leave,
    /// Ctrl-L, Ctrl-R: the prompt and the line are to be drawn anew.
    Redraw,
}

/// How much of an escape sequence has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Pending {
    #[default]
    Nothing,
    /// After Ctrl-V, or a backslash before `?`: the next key stands for itself.
    Quoted,
    Escape,
    /// After `ESC [` or `ESC O`.
    Sequence(Vec<u8>),
    /// Of a character of several bytes.
    Character(Vec<u8>),
}

#[derive(Debug, Default)]
pub struct Editor {
    line: Vec<char>,
    cursor: usize,
    history: VecDeque<String>,
    /// The place in the history that is shown, from its end; `None`: the line is new.
    recalled: Option<usize>,
    /// The new line, while an old one is shown.
    aside: Vec<char>,
    killed: Vec<char>,
    pending: Pending,
    /// The last byte was CR: a LF or NUL that follows belongs to it.
    after_cr: bool,
    /// Nothing is echoed, nothing remembered, and `?` is a character: a password.
    pub secret: bool,
    /// Nobody types: `?` is a character, and Tab a blank.
    script: bool,
}

impl Editor {
    /// For the lines of a script, which nobody types.
    pub fn of_script() -> Self {
        Self { script: true, ..Self::default() }
    }

    /// Takes one byte; what is to be shown for it is added to `out`.
    pub fn feed(&mut self, byte: u8, out: &mut Vec<u8>) -> Option<Event> {
        let after_cr = std::mem::take(&mut self.after_cr);
        match std::mem::take(&mut self.pending) {
            Pending::Nothing => self.key(byte, after_cr, out),
            Pending::Quoted => {
                self.character_begins(byte, out);
                None
            }
            Pending::Escape => self.escaped(byte, out),
            Pending::Sequence(mut bytes) => {
                bytes.push(byte);
                if (0x40..=0x7e).contains(&byte) {
                    self.sequence(&bytes, out);
                } else if (0x20..0x40).contains(&byte) && bytes.len() < SEQUENCE_MAX {
                    self.pending = Pending::Sequence(bytes);
                }
                None
            }
            Pending::Character(mut bytes) => {
                if byte & 0xc0 != 0x80 {
                    // What came before was no character; this byte is one of its own.
                    return self.key(byte, after_cr, out);
                }
                bytes.push(byte);
                match std::str::from_utf8(&bytes) {
                    Ok(text) => text.chars().for_each(|c| self.insert(c, out)),
                    Err(error) if error.error_len().is_none() => self.pending = Pending::Character(bytes),
                    Err(_) => {}
                }
                None
            }
        }
    }

    fn key(&mut self, byte: u8, after_cr: bool, out: &mut Vec<u8>) -> Option<Event> {
        match byte {
            b'\n' | 0 if after_cr => return None,
            b'\r' | b'\n' => {
                self.after_cr = byte == b'\r';
                return Some(Event::Line(self.end_line(out)));
            }
            0x01 => self.move_to(0, out),
            0x02 => self.move_to(self.cursor.saturating_sub(1), out),
            0x03 => {
                self.take_line();
                out.extend(b"^C\r\n");
                return Some(Event::Interrupt);
            }
            0x04 if self.line.is_empty() => return Some(Event::Leave),
            0x04 => self.delete(self.cursor, self.cursor + 1, out),
            0x05 => self.move_to(self.line.len(), out),
            0x06 => self.move_to(self.cursor + 1, out),
            BACKSPACE | 0x7f => self.delete(self.cursor.saturating_sub(1), self.cursor, out),
            b'\t' if self.script => self.insert(' ', out),
            b'\t' if !self.secret => return Some(Event::Tab(self.until_cursor())),
            0x0b => self.kill(self.cursor, self.line.len(), out),
            0x0c | 0x12 => return Some(Event::Redraw),
            0x0e => self.recall(false, out),
            0x10 => self.recall(true, out),
            0x14 => self.transpose(out),
            0x15 => self.kill(0, self.cursor, out),
            0x16 => self.pending = Pending::Quoted,
            0x17 => self.kill(self.word_before(), self.cursor, out),
            0x19 => self.insert_all(self.killed.clone(), out),
            0x1a => return Some(Event::End(self.end_line(out))),
            ESCAPE => self.pending = Pending::Escape,
            // As ServerIrons have it: a question mark that is meant. The grammar takes the backslash away.
            b'?' if !self.secret && self.line.get(..self.cursor).and_then(<[char]>::last) == Some(&'\\') => {
                self.insert('?', out);
            }
            b'?' if !self.secret && !self.script => return Some(Event::Help(self.until_cursor())),
            0x20..=0x7e | 0x80.. => self.character_begins(byte, out),
            _ => {}
        }
        None
    }

    fn character_begins(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            0x20..=0x7e => self.insert(char::from(byte), out),
            0xc2..=0xf4 => self.pending = Pending::Character(vec![byte]),
            _ => {}
        }
    }

    fn escaped(&mut self, byte: u8, out: &mut Vec<u8>) -> Option<Event> {
        match byte {
            b'[' | b'O' => self.pending = Pending::Sequence(Vec::new()),
            b'b' | b'B' => self.move_to(self.word_before(), out),
            b'f' | b'F' => self.move_to(self.word_behind(), out),
            b'd' | b'D' => self.kill(self.cursor, self.word_behind(), out),
            BACKSPACE | 0x7f => self.kill(self.word_before(), self.cursor, out),
            // Pressed by itself before another key: that key is meant.
            ESCAPE => self.pending = Pending::Escape,
            0..=0x1f => return self.key(byte, false, out),
            _ => {}
        }
        None
    }

    fn sequence(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match bytes {
            b"A" => self.recall(true, out),
            b"B" => self.recall(false, out),
            b"C" => self.move_to(self.cursor + 1, out),
            b"D" => self.move_to(self.cursor.saturating_sub(1), out),
            b"H" | b"1~" | b"7~" => self.move_to(0, out),
            b"F" | b"4~" | b"8~" => self.move_to(self.line.len(), out),
            b"3~" => self.delete(self.cursor, self.cursor + 1, out),
            b"1;5C" | b"1;3C" => self.move_to(self.word_behind(), out),
            b"1;5D" | b"1;3D" => self.move_to(self.word_before(), out),
            _ => {}
        }
    }

    /// The prompt has been shown anew: the line follows it.
    pub fn redraw(&self, out: &mut Vec<u8>) {
        if !self.secret {
            self.draw_from(0, 0, out);
        }
    }

    /// Adds text at the cursor, as if it had been typed.
    pub fn add(&mut self, text: &str, out: &mut Vec<u8>) {
        self.insert_all(text.chars().collect(), out);
    }

    /// Characters that have been typed since the last line.
    pub fn len(&self) -> usize {
        self.line.len()
    }

    /// Nothing has been typed since the last line.
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Old lines, the oldest first.
    pub fn history(&self) -> impl Iterator<Item = &str> {
        self.history.iter().map(String::as_str)
    }

    fn until_cursor(&self) -> String {
        self.line.iter().take(self.cursor).collect()
    }

    fn take_line(&mut self) -> String {
        self.cursor = 0;
        self.recalled = None;
        self.aside.clear();
        std::mem::take(&mut self.line).into_iter().collect()
    }

    fn end_line(&mut self, out: &mut Vec<u8>) -> String {
        out.extend(b"\r\n");
        let line = self.take_line();
        let blank = line.trim().is_empty();
        if !self.secret && !blank && self.history.back() != Some(&line) {
            if self.history.len() == HISTORY_MAX {
                self.history.pop_front();
            }
            self.history.push_back(line.clone());
        }
        line
    }

    fn insert(&mut self, c: char, out: &mut Vec<u8>) {
        self.insert_all(vec![c], out);
    }

    /// All, or nothing where there is no room; drawn once.
    fn insert_all(&mut self, text: Vec<char>, out: &mut Vec<u8>) {
        if self.line.len() + text.len() > LINE_MAX || text.iter().any(|c| c.is_control()) {
            out.push(BELL);
            return;
        }
        let from = self.cursor;
        self.cursor += text.len();
        self.line.splice(from..from, text);
        if !self.secret {
            self.draw_from(from, 0, out);
        }
    }

    /// Draws the line from a place on, as long as the cursor stands there; `gone`: characters that were behind its end.
    fn draw_from(&self, from: usize, gone: usize, out: &mut Vec<u8>) {
        let tail: String = self.line.iter().skip(from).collect();
        out.extend(tail.as_bytes());
        out.extend(std::iter::repeat_n(b' ', gone));
        let back = self.line.len().saturating_sub(self.cursor) + gone;
        out.extend(std::iter::repeat_n(BACKSPACE, back));
    }

    fn move_to(&mut self, to: usize, out: &mut Vec<u8>) {
        let to = to.min(self.line.len());
        if !self.secret {
            if to < self.cursor {
                out.extend(std::iter::repeat_n(BACKSPACE, self.cursor - to));
            } else {
                let passed: String = self.line.iter().take(to).skip(self.cursor).collect();
                out.extend(passed.as_bytes());
            }
        }
        self.cursor = to;
    }

    fn delete(&mut self, from: usize, to: usize, out: &mut Vec<u8>) {
        let to = to.min(self.line.len());
        if from >= to {
            out.push(BELL);
            return;
        }
        self.move_to(from, out);
        self.line.drain(from..to);
        if !self.secret {
            self.draw_from(from, to - from, out);
        }
    }

    fn kill(&mut self, from: usize, to: usize, out: &mut Vec<u8>) {
        if from < to {
            self.killed = self.line.get(from..to).unwrap_or_default().to_vec();
            self.delete(from, to, out);
        }
    }

    fn transpose(&mut self, out: &mut Vec<u8>) {
        let at = self.cursor.min(self.line.len().saturating_sub(1));
        if at == 0 {
            return out.push(BELL);
        }
        self.move_to(at - 1, out);
        self.line.swap(at - 1, at);
        self.cursor = at + 1;
        if !self.secret {
            self.draw_from(at - 1, 0, out);
        }
    }

    /// Where the word before the cursor begins.
    fn word_before(&self) -> usize {
        let blank = |at: usize| self.line.get(at).is_none_or(|c| *c == ' ');
        let end = (0..self.cursor).rev().find(|at| !blank(*at)).map_or(0, |at| at + 1);
        (0..end).rev().find(|at| blank(*at)).map_or(0, |at| at + 1)
    }

    /// Where the word at or behind the cursor ends.
    fn word_behind(&self) -> usize {
        let blank = |at: &usize| self.line.get(*at).is_none_or(|c| *c == ' ');
        let begin = (self.cursor..self.line.len()).find(|at| !blank(at)).unwrap_or(self.line.len());
        (begin..self.line.len()).find(blank).unwrap_or(self.line.len())
    }

    fn recall(&mut self, older: bool, out: &mut Vec<u8>) {
        if self.secret {
            return;
        }
        let recalled = match (self.recalled, older) {
            (None, false) => return out.push(BELL),
            (None, true) => Some(0),
            (Some(0), false) => None,
            (Some(back), false) => Some(back - 1),
            (Some(back), true) => Some(back + 1),
        };
        let line = match recalled {
            None => std::mem::take(&mut self.aside),
            Some(back) => {
                let found = self.history.len().checked_sub(back + 1).and_then(|at| self.history.get(at));
                let Some(line) = found else { return out.push(BELL) };
                line.chars().collect()
            }
        };
        if self.recalled.is_none() {
            self.aside = self.line.clone();
        }
        self.recalled = recalled;
        let before = self.line.len();
        self.move_to(0, out);
        self.line = line;
        self.cursor = self.line.len();
        self.draw_from(0, before.saturating_sub(self.line.len()), out);
    }
}

#[cfg(test)]
#[path = "editor_tests.rs"]
mod tests;
