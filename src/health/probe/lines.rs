//! Lines out of a stream that comes in pieces of any size, with bounds on everything.

use super::{ANSWER_BYTES_MAX, LINE_BYTES_MAX};

/// Why there are no more lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A NUL byte, which none of the protocols by lines allows.
    Nul,
    /// A line of more than `LINE_BYTES_MAX`.
    LongLine,
    /// More than `ANSWER_BYTES_MAX` in all, or announced to come.
    LongAnswer,
}

/// Cuts a stream into lines. Each byte is looked at once, however it comes, and never more than one line is kept.
///
/// Where it breaks depends on the bytes alone and not on how they were cut into pieces.
#[derive(Debug, Default)]
pub struct Lines {
    /// The line that has begun.
    part: Vec<u8>,
    /// Bytes so far, at most `ANSWER_BYTES_MAX`.
    taken: usize,
    /// Bytes to drop before the next line.
    skip: usize,
}

impl Lines {
    /// Takes bytes off the front of `input`, up to the end of a line; gives that line without its end, which is
    /// LF or CR LF. `None`: all of `input` has been taken, and more is needed. After an error it must not be asked
    /// again.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, Broken> {
        if self.skip > ANSWER_BYTES_MAX - self.taken {
            return Err(Broken::LongAnswer);
        }
        let dropped = self.skip.min(input.len());
        take(input, dropped);
        self.skip -= dropped;
        self.taken += dropped;

        let left_of_answer = ANSWER_BYTES_MAX - self.taken;
        let left_of_line = LINE_BYTES_MAX - self.part.len();
        let room = left_of_answer.min(left_of_line);
        let seen = input.get(..room).unwrap_or(input);
        match seen.iter().position(|byte| matches!(byte, b'\n' | 0)) {
            Some(at) if seen.get(at) == Some(&0) => Err(Broken::Nul),
            Some(at) => {
                self.keep(input, at);
                take(input, 1);
                self.taken += 1;
                let mut line = std::mem::take(&mut self.part);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                Ok(Some(line))
            }
            None if input.len() > room && left_of_line <= left_of_answer => Err(Broken::LongLine),
            None if input.len() > room => Err(Broken::LongAnswer),
            None => {
                self.keep(input, input.len());
                Ok(None)
            }
        }
    }

    /// The next `count` bytes belong to no line: an IMAP literal.
    pub fn skip(&mut self, count: usize) {
        self.skip = self.skip.saturating_add(count);
    }

    /// Something has begun that has not ended.
    pub fn in_part(&self) -> bool {
        !self.part.is_empty() || self.skip > 0
    }

    /// The line that has begun.
    pub fn part(&self) -> &[u8] {
        &self.part
    }

    fn keep(&mut self, input: &mut &[u8], count: usize) {
        self.part.extend_from_slice(take(input, count));
        self.taken += count;
    }
}

/// Cuts `count` bytes, or all that there are, off the front.
fn take<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (front, rest) = input.split_at_checked(count).unwrap_or((input, &[]));
    *input = rest;
    front
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
