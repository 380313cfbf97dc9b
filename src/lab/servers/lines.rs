//! A bounded reader and writer of lines, as mail protocols speak them.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::in_time;

/// Longest line with its end. RFC 5321 asks for 512 in commands and 1,000 in text, RFC 2683 for 8,000 in IMAP.
pub const LINE_MAX: usize = 8_192;

pub struct Lines {
    stream: BufReader<TcpStream>,
}

impl Lines {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// The next line without its end; `None` when the client has closed.
    pub async fn read(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        in_time((&mut self.stream).take(LINE_MAX as u64).read_until(b'\n', &mut line)).await?;
        if line.last() != Some(&b'\n') {
            let cut = if line.len() == LINE_MAX { Err(io::ErrorKind::InvalidData.into()) } else { Ok(None) };
            return cut;
        }
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }

    /// Writes a line, or several that are joined by CR LF; adds the last end.
    pub async fn write(&mut self, text: &str) -> io::Result<()> {
        self.write_bytes(format!("{text}\r\n").as_bytes()).await
    }

    pub async fn write_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        in_time(self.stream.get_mut().write_all(bytes)).await
    }

    /// Some of the next bytes, at most as many as fit; 0 when the client has closed.
    pub async fn read_bytes(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        in_time(self.stream.read(buffer)).await
    }
}

/// The first word, in capitals, and the rest.
pub fn verb(line: &str) -> (String, &str) {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    (verb.to_ascii_uppercase(), rest.trim())
}
