//! What comes from a terminal: bytes, one after the other, and its size. Bounded: who reads slowly lets the sender wait.

use std::collections::VecDeque;

use tokio::sync::mpsc;

/// What a transport brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    Bytes(Vec<u8>),
    /// Rows and columns; 0: not known.
    Size(usize, usize),
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Byte(u8),
    Size(usize, usize),
    /// Nothing comes any more.
    End,
}

/// Bytes that are typed ahead while a command runs; beyond, the sender waits.
const AHEAD_MAX: usize = 64 * 1024;
const INTERRUPT: u8 = 3;
const ESCAPE: u8 = 27;

#[derive(Debug)]
pub struct Keys {
    input: mpsc::Receiver<Input>,
    ahead: VecDeque<u8>,
    size: Option<(usize, usize)>,
}

impl Keys {
    pub fn new(input: mpsc::Receiver<Input>) -> Self {
        Self { input, ahead: VecDeque::new(), size: None }
    }

    /// Nothing has come that was not taken: what is to be shown should be.
    pub fn is_empty(&self) -> bool {
        self.ahead.is_empty() && self.size.is_none() && self.input.is_empty()
    }

    /// May be given up at any time: nothing is lost.
    pub async fn next(&mut self) -> Key {
        loop {
            if let Some((rows, columns)) = self.size.take() {
                return Key::Size(rows, columns);
            }
            if let Some(byte) = self.ahead.pop_front() {
                return Key::Byte(byte);
            }
            match self.input.recv().await {
                Some(Input::Bytes(bytes)) => self.ahead.extend(bytes),
                Some(Input::Size(rows, columns)) => self.size = Some((rows, columns)),
                None => return Key::End,
            }
        }
    }

    /// `key` was the first byte of a key: what else has come of its sequence (`ESC [ 6 ~`) goes with it.
    pub fn drop_sequence(&mut self, key: u8) {
        if key != ESCAPE || !matches!(self.ahead.front(), Some(b'[' | b'O')) {
            return;
        }
        self.ahead.pop_front();
        while let Some(byte) = self.ahead.pop_front() {
            if (0x40..=0x7e).contains(&byte) {
                return;
            }
        }
    }

    /// Ends when Ctrl-C comes, and drops what was typed ahead. The end of a script is no interrupt of its last command.
    /// May be given up at any time.
    pub async fn interrupted(&mut self) {
        loop {
            if self.ahead.contains(&INTERRUPT) {
                return self.ahead.clear();
            }
            if self.ahead.len() >= AHEAD_MAX {
                return std::future::pending().await;
            }
            match self.input.recv().await {
                Some(Input::Bytes(bytes)) => self.ahead.extend(bytes),
                Some(Input::Size(rows, columns)) => self.size = Some((rows, columns)),
                None => return std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn keys(inputs: &[Input]) -> Keys {
        let (send, receive) = mpsc::channel(16);
        for input in inputs {
            send.send(input.clone()).await.unwrap();
        }
        Keys::new(receive)
    }

    #[tokio::test]
    async fn bytes_come_in_their_order_and_sizes_as_soon_as_they_are_known() {
        let mut keys = keys(&[Input::Bytes(b"ab".to_vec()), Input::Size(24, 80), Input::Bytes(b"c".to_vec())]).await;
        let mut seen = Vec::new();
        loop {
            seen.push(keys.next().await);
            if seen.last() == Some(&Key::End) {
                break;
            }
        }
        assert_eq!(seen, [Key::Byte(b'a'), Key::Byte(b'b'), Key::Size(24, 80), Key::Byte(b'c'), Key::End]);
    }

    #[tokio::test]
    async fn an_interrupt_is_found_behind_what_was_typed_ahead_and_drops_it() {
        let mut keys = keys(&[Input::Bytes(b"show ".to_vec()), Input::Bytes(b"x\x03y".to_vec())]).await;
        keys.interrupted().await;
        assert_eq!(keys.next().await, Key::End);
    }

    #[tokio::test]
    async fn the_end_of_a_script_is_no_interrupt() {
        let mut keys = keys(&[Input::Bytes(b"exit\n".to_vec())]).await;
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), keys.interrupted()).await;
        assert!(waited.is_err());
        assert_eq!(keys.next().await, Key::Byte(b'e'), "nothing is lost");
    }
}
