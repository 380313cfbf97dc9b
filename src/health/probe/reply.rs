//! Replies with a code of three digits, of one line or several, as SMTP and FTP have them.
//!
//! ```text
//!   220 one line          250-first           230-first            (FTP: what is between is free text)
//!                         250-next            what the server likes
//!                         250 last            230 last
//! ```

use std::mem;

/// How the lines between the first and the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Each has the code (RFC 5321, 4.2.1).
    Smtp,
    /// Anything (RFC 959, 4.2).
    Ftp,
}

/// A complete reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 100 to 599.
    pub code: u16,
    /// Its first line, as if it were the only one.
    pub text: Vec<u8>,
}

/// The line is not one of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAReply;

/// Puts replies together from lines.
#[derive(Debug)]
pub struct Replies {
    style: Style,
    /// The reply whose last line has not come.
    open: Option<Reply>,
}

impl Replies {
    pub fn new(style: Style) -> Self {
        Self { style, open: None }
    }

    /// The next line is the first of a reply.
    pub fn at_start(&self) -> bool {
        self.open.is_none()
    }

    /// Takes a line; gives the reply when it was the last one.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, NotAReply> {
        let parsed = parse(line);
        let Some(open) = &self.open else {
            let (code, last) = parsed.ok_or(NotAReply)?;
            let mut text = line.to_vec();
            if let Some(dash) = text.get_mut(3) {
                *dash = b' ';
            }
            let reply = Reply { code, text };
            if last {
                return Ok(Some(reply));
            }
            self.open = Some(reply);
            return Ok(None);
        };
        match (parsed, self.style) {
            (Some((code, true)), _) if code == open.code => Ok(mem::take(&mut self.open)),
            (Some((code, false)), _) if code == open.code => Ok(None),
            (_, Style::Ftp) => Ok(None),
            (_, Style::Smtp) => Err(NotAReply),
        }
    }
}

/// Code, and whether the line is the last of its reply.
fn parse(line: &[u8]) -> Option<(u16, bool)> {
    let (digits, rest) = line.split_at_checked(3)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let last = match rest.first() {
        None | Some(b' ') => true,
        Some(b'-') => false,
        Some(_) => return None,
    };
    (100..=599).contains(&code).then_some((code, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, text: &str) -> Result<Option<Reply>, NotAReply> {
        Ok(Some(Reply { code, text: text.into() }))
    }

    #[test]
    fn a_reply_of_one_line_is_complete_with_it() {
        assert_eq!(Replies::new(Style::Smtp).line(b"220 mx1"), reply(220, "220 mx1"));
        assert_eq!(Replies::new(Style::Smtp).line(b"220"), reply(220, "220"));
    }

    #[test]
    fn a_reply_of_several_lines_has_the_text_of_its_first() {
        for style in [Style::Smtp, Style::Ftp] {
            let mut replies = Replies::new(style);
            assert_eq!(replies.line(b"421-too busy"), Ok(None));
            assert!(!replies.at_start());
            assert_eq!(replies.line(b"421-go away"), Ok(None));
            assert_eq!(replies.line(b"421 please"), reply(421, "421 too busy"));
            assert!(replies.at_start());
        }
    }

    #[test]
    fn between_its_lines_ftp_allows_anything_and_smtp_nothing_else() {
        for between in [&b"welcome"[..], b" 220 welcome", b"230 welcome", b""] {
            let (mut ftp, mut smtp) = (Replies::new(Style::Ftp), Replies::new(Style::Smtp));
            assert_eq!((ftp.line(b"220-hello"), smtp.line(b"220-hello")), (Ok(None), Ok(None)));
            assert_eq!((ftp.line(between), smtp.line(between)), (Ok(None), Err(NotAReply)), "{between:?}");
            assert_eq!(ftp.line(b"220 end"), reply(220, "220 hello"));
        }
    }

    #[test]
    fn what_has_no_code_is_not_a_reply() {
        for line in [&b""[..], b"22", b"22x hello", b"2200", b"099 low", b"600 high", b"HTTP/1.1 400", b"\xff\xfe\xfd "]
        {
            assert_eq!(Replies::new(Style::Ftp).line(line), Err(NotAReply), "{line:?}");
        }
    }
}
