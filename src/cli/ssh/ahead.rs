//! What a client has sent and the session has not taken yet.
//!
//! The library delivers what clients send from the task that also sends them our output. If that task had to wait until
//! the session takes its input, while the session waits until its output is sent, both would wait for ever. So here is
//! room, beyond which we take nothing as long as output flows, and a little more where it does not.

use std::collections::VecDeque;

use crate::cli::Input;

/// Bytes that are taken while the session is busy.
const EASY: usize = 128 * 1024;
/// More is no typing, and no script that anybody reads the answers of.
const MOST: usize = 512 * 1024;
/// A size costs as much as so many bytes: a client may send many.
const SIZE_COSTS: usize = 64;

#[derive(Debug, Default)]
pub struct Ahead {
    queue: VecDeque<Input>,
    bytes: usize,
}

fn cost(input: &Input) -> usize {
    match input {
        Input::Bytes(bytes) => bytes.len() + SIZE_COSTS,
        Input::Size(..) => SIZE_COSTS,
    }
}

impl Ahead {
    pub fn push(&mut self, input: Input) {
        self.bytes += cost(&input);
        self.queue.push_back(input);
    }

    pub fn pop(&mut self) -> Option<Input> {
        let input = self.queue.pop_front()?;
        self.bytes = self.bytes.saturating_sub(cost(&input));
        Some(input)
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// More may be taken; `is_stuck`: output waits for the task that brings the input.
    pub fn has_room(&self, is_stuck: bool) -> bool {
        self.bytes < EASY || is_stuck
    }

    pub fn is_too_much(&self) -> bool {
        self.bytes > MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_and_a_little_more_where_output_is_stuck() {
        let mut ahead = Ahead::default();
        while ahead.has_room(false) {
            ahead.push(Input::Bytes(vec![0; 1_000]));
        }
        assert!(ahead.has_room(true) && !ahead.is_too_much());
        while !ahead.is_too_much() {
            ahead.push(Input::Size(24, 80));
        }
        assert!(ahead.queue.len() < 10_000);
        while ahead.pop().is_some() {}
        assert!(ahead.is_empty() && ahead.has_room(false));
    }
}
