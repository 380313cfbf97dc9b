//! A message as RFC 5424 has it, and how it is framed on a connection.
//!
//! Made here and not by a library: the time is when it happened and not when there was a connection, the facility is of
//! each server, and what may be in it is bounded and in one line.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::macros::format_description;

use crate::config::{Facility, LogSeverity};
use crate::core::events::Event;

/// Octets of a message. Every receiver takes 2048 (RFC 5425, 4.3.1; RFC 5424, 6.1 and RFC 5426, 3.2 say that it should).
pub const OCTETS_MAX: usize = 2048;
/// Room that is kept for the priority.
const PRIORITY_MAX: usize = "<191>".len();
/// Of an SD-ID that is not registered `crate::os::ENTERPRISE` is a part (RFC 5424, 6.3.2).
const SD_ID: &str = "lbd@32473";

/// What all messages of this box have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    hostname: String,
    process: u32,
}

impl Header {
    /// `-` for a box without a name.
    pub fn new(hostname: &str) -> Self {
        Self { hostname: hostname.to_owned(), process: std::process::id() }
    }
}

/// What is to be told.
pub struct Message<'m> {
    /// `-`, or the name of an event.
    pub id: &'m str,
    /// Its class and its fields become structured data.
    pub event: Option<&'m Event>,
    pub text: Cow<'m, str>,
    pub at: SystemTime,
}

impl Message<'_> {
    /// All but the priority.
    pub fn body(&self, header: &Header) -> String {
        let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
        let at = OffsetDateTime::from(self.at).format(form).unwrap_or_else(|_| "-".to_owned());
        let mut body = format!("1 {at} {} lbd {} {} ", header.hostname, header.process, self.id);
        match self.event {
            Some(event) => structured(event, &mut body),
            None => body.push('-'),
        }
        body.push(' ');
        escaped(&self.text, OCTETS_MAX - PRIORITY_MAX, &mut body);
        body
    }
}

/// The message for a server.
pub fn message(facility: Facility, severity: LogSeverity, body: &str) -> String {
    format!("<{}>{body}", facility.code() * 8 + severity.code())
}

/// Behind its length (RFC 6587, 3.4.1; RFC 5425, 4.3).
pub fn counted(message: &str) -> String {
    format!("{} {message}", message.len())
}

/// Room that structured data leaves to the words of an event: these say the same, and are what people read.
const WORDS_MIN: usize = 400;

fn structured(event: &Event, out: &mut String) {
    // What is written to a string cannot fail.
    _ = write!(out, "[{SD_ID} class=\"{}\" number=\"{}\"", event.class, event.number);
    for (name, value) in &event.fields {
        let mut parameter = format!(" {name}=\"");
        for c in value.chars() {
            if matches!(c, '"' | '\\' | ']') {
                parameter.push('\\');
            }
            parameter.push(c);
        }
        parameter.push('"');
        if out.len() + parameter.len() + WORDS_MIN <= OCTETS_MAX {
            out.push_str(&parameter);
        }
    }
    out.push(']');
}

/// Puts a text behind what is there, in one line and without what steers a terminal, up to so many octets in all.
fn escaped(text: &str, most: usize, out: &mut String) {
    const CUT: &str = "...";
    for c in text.chars() {
        let mut buffer = [0; 4];
        let piece: &str = match c {
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            c if c.is_control() => "\u{fffd}",
            c => c.encode_utf8(&mut buffer),
        };
        if out.len() + piece.len() + CUT.len() > most {
            out.push_str(CUT);
            return;
        }
        out.push_str(piece);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::check::State;
    use crate::core::events::What;
    use crate::core::moment::UnixTime;

    fn at() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(1_764_331_387_000_042)
    }

    fn header() -> Header {
        Header { hostname: "lb1".into(), process: 7 }
    }

    fn plain(text: &str) -> String {
        Message { id: "-", event: None, text: text.into(), at: at() }.body(&header())
    }

    #[test]
    fn a_plain_line_has_every_part_of_the_header() {
        let body = plain("HTTP on http://127.0.0.1:8080/");
        assert_eq!(
            message(Facility::Local(7), LogSeverity::Info, &body),
            "<190>1 2025-11-28T12:03:07.000042Z lb1 lbd 7 - - HTTP on http://127.0.0.1:8080/"
        );
        assert_eq!(message(Facility::Daemon, LogSeverity::Error, "x"), "<27>x");
    }

    #[test]
    fn an_event_has_its_fields_as_structured_data() {
        let what = What::CheckDown {
            server: "pc2".into(),
            check: "smtp 10.1.0.2:25".into(),
            from: State::Up,
            why: "banner \"421\" [too] busy\\".into(),
        };
        let event = Event::new(9, UnixTime::default(), &what);
        let body = Message { id: &event.event, event: Some(&event), text: event.text.as_str().into(), at: at() };
        assert_eq!(
            body.body(&header()),
            "1 2025-11-28T12:03:07.000042Z lb1 lbd 7 check-down [lbd@32473 class=\"health\" number=\"9\" \
             check=\"smtp 10.1.0.2:25\" from=\"up\" server=\"pc2\" why=\"banner \\\"421\\\" [too\\] busy\\\\\"] \
             smtp 10.1.0.2:25: up -> down: banner \"421\" [too] busy\\"
        );
        assert!(SD_ID.ends_with(&format!("@{}", crate::os::ENTERPRISE)));
    }

    #[test]
    fn a_message_is_one_line_without_what_steers_a_terminal() {
        let body = plain("one\ntwo\r\n\u{1b}[2J\u{0}é");
        assert!(body.ends_with(" - - one\\ntwo\\r\\n\u{fffd}[2J\u{fffd}é"), "{body}");
    }

    #[test]
    fn however_long_it_is_a_receiver_takes_it() {
        let fields = 600;
        for text in ["x".repeat(10_000), "é".repeat(10_000), "\n".repeat(10_000), "😀".repeat(3_000)] {
            let body = plain(&text);
            assert!(message(Facility::Local(7), LogSeverity::Debug, &body).len() <= OCTETS_MAX, "{}", body.len());
            assert!(body.ends_with("..."));
            let what = What::PairAlarm { alarm: text.clone(), words: text.chars().take(fields).collect() };
            let event = Event::new(1, UnixTime::default(), &what);
            let body = Message { id: "pair-alarm", event: Some(&event), text: event.text.as_str().into(), at: at() };
            let message = message(Facility::Local(7), LogSeverity::Debug, &body.body(&header()));
            assert!(message.len() <= OCTETS_MAX, "{}", message.len());
        }
    }

    #[test]
    fn octets_are_counted_and_not_characters() {
        assert_eq!(counted("<190>1 é"), "9 <190>1 é");
    }
}
