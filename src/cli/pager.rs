//! Page by page: `--More--`, and what the keys do there. No I/O.

/// What stands below a page. No line of a terminal ends in it by itself.
pub const MORE: &str = " --More-- ";

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Show,
    /// The page is full: a key is waited for before the line is shown.
    Wait,
}

/// A page of a terminal.
#[derive(Clone, Copy, Debug)]
pub struct Pager {
    /// Rows of the terminal; 0: no pages.
    length: usize,
    /// Columns; 0: lines are not broken.
    width: usize,
    left: usize,
}

impl Pager {
    pub fn new(length: usize, width: usize) -> Self {
        Self { length, width, left: length.saturating_sub(1) }
    }

    /// The terminal has another size.
    pub fn resize(&mut self, length: usize, width: usize) {
        (self.length, self.width) = (length, width);
        self.left = self.left.min(length.saturating_sub(1));
    }

    /// The next line.
    pub fn turn(&mut self, line: &str) -> Turn {
        if self.length == 0 {
            return Turn::Show;
        }
        let rows = match self.width {
            0 => 1,
            width => line.chars().count().max(1).div_ceil(width),
        };
        if self.left == 0 {
            return Turn::Wait;
        }
        self.left = self.left.saturating_sub(rows);
        Turn::Show
    }

    /// A key at `--More--`; `false`: nothing more is to be shown.
    pub fn key(&mut self, key: u8) -> bool {
        match key {
            b' ' | b'f' => self.left = self.length.saturating_sub(1).max(1),
            b'\r' | b'\n' => self.left = 1,
            _ => return false,
        }
        true
    }

    /// Takes `--More--` away again, by what every terminal knows.
    pub fn erase() -> String {
        let backs = "\u{8}".repeat(MORE.len());
        format!("{backs}{}{backs}", " ".repeat(MORE.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of these lines are shown until a key is waited for.
    fn shown(pager: &mut Pager, lines: &[&str]) -> usize {
        lines.iter().take_while(|line| pager.turn(line) == Turn::Show).count()
    }

    #[test]
    fn a_page_leaves_room_for_the_question() {
        let mut pager = Pager::new(5, 80);
        assert_eq!(shown(&mut pager, &["x"; 9]), 4);
        assert!(pager.key(b' '));
        assert_eq!(shown(&mut pager, &["x"; 9]), 4);
        assert!(pager.key(b'\r'));
        assert_eq!(shown(&mut pager, &["x"; 9]), 1);
        assert!(!pager.key(b'q') && !pager.key(3));
    }

    #[test]
    fn a_line_that_is_broken_takes_the_rows_that_it_takes() {
        let long = "x".repeat(21);
        assert_eq!(shown(&mut Pager::new(5, 10), &[&long, "x", "x"]), 2);
    }

    #[test]
    fn a_terminal_without_length_has_no_pages() {
        assert_eq!(shown(&mut Pager::new(0, 80), &["x"; 1_000]), 1_000);
        assert_eq!(shown(&mut Pager::new(1, 80), &["x"]), 0, "a terminal of one row has room for the question alone");
    }
}
