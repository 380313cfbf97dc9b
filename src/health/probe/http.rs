//! HTTP/1.1 (RFC 9110, 9112): one request, the status, and if it is asked for the beginning of the body.
//!
//! ```text
//!   request sent ──> head ──(1xx)──> head ──> verdict by the status
//!                      └── status accepted, and a body asked for ──> body ──> verdict by its first 64 KiB
//! ```
//!
//! What comes behind the end of what decides is not read: without a `body` that is the head.

use std::net::SocketAddr;
use std::sync::Arc;

use httparse::{EMPTY_HEADER, Header, Response, Status};
use regex::bytes::{Regex, RegexBuilder};

use super::allowance::Allowance;
use super::unaskable::{Unaskable, quoted};
use super::words::shown;
use super::{Conversation, LINE_BYTES_MAX, Next};
use crate::config::{HttpProbe, Security};
use crate::core::check::{Failure, FailureKind, Verdict};

/// Most bytes of status line and header fields, interim (1xx) answers included. Servers themselves stop between
/// 8 and 16 KiB by default.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most header fields of one answer.
pub const FIELDS_MAX: usize = 100;
/// The part of the body that is searched, bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Memory of a compiled regular expression, and of its search, bytes.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// What is sent, and what is expected; made once for all probes of a target.
#[derive(Debug)]
pub struct Request {
    bytes: Vec<u8>,
    /// The method is HEAD: the answer has no body (RFC 9110, 9.3.2).
    head_only: bool,
    status: Vec<(u16, u16)>,
    body: Option<Regex>,
}

impl Request {
    /// `at` is what is probed: its address stands in `Host` if the probe names none, with its port unless that is
    /// the default one.
    pub fn new(probe: &HttpProbe, at: SocketAddr) -> Result<Self, Unaskable> {
        let HttpProbe { security, method, host, path, status, body } = probe;
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(Unaskable::Method(quoted(method)));
        }
        // `*` is for OPTIONS (RFC 9112, 3.2.4).
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) || !(path.starts_with('/') || path == "*") {
            return Err(Unaskable::Path(quoted(path)));
        }
        let host = match host {
            Some(host) => host.clone(),
            None => authority(at, matches!(security, Security::Tls(_))),
        };
        if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Unaskable::Host(quoted(&host)));
        }
        let compile = |pattern: &String| {
            let built = RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).build();
            built.map_err(|error| Unaskable::Body(why(&error)))
        };
        let body = body.as_ref().map(compile).transpose()?;
        // A body that is packed could not be searched.
        let bytes = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lbd-probe\r\nAccept: */*\r\n\
             Accept-Encoding: identity\r\nConnection: close\r\n\r\n"
        );
        Ok(Self { bytes: bytes.into_bytes(), head_only: method == "HEAD", status: status.clone(), body })
    }

    fn accepts(&self, status: u16) -> bool {
        self.status.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }

    /// The accepted codes as they are configured: "200-399, 401".
    fn accepted(&self) -> String {
        let range = |(first, last): &(u16, u16)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        shown(self.status.iter().map(range).collect::<Vec<_>>().join(", ").as_bytes())
    }
}

/// Host and port as in a URL (RFC 3986, 3.2).
fn authority(at: SocketAddr, tls: bool) -> String {
    let default = if tls { 443 } else { 80 };
    match at {
        _ if at.port() != default => at.to_string(),
        SocketAddr::V4(at) => at.ip().to_string(),
        SocketAddr::V6(at) => format!("[{}]", at.ip()),
    }
}

/// The last line of the crate's message has the reason; those before draw the place.
fn why(error: &regex::Error) -> String {
    let text = error.to_string();
    let reason = text.lines().last().unwrap_or_default();
    shown(reason.trim_start_matches("error: ").as_bytes())
}

/// How far the answer has been read.
#[derive(Debug)]
enum Stage {
    /// The head, up to its empty line. `line` is where its last line began.
    Head {
        held: Vec<u8>,
        line: usize,
    },
    Body {
        status: String,
        gathered: Vec<u8>,
        rest: Rest,
    },
}

/// Where the body ends (RFC 9112, 6.3).
#[derive(Debug)]
enum Rest {
    /// After this many bytes more.
    Length(u64),
    Chunked(Chunk),
    /// With the connection.
    ToEnd,
}

/// Where in the chunked coding (RFC 9112, 7.1) the next byte is.
#[derive(Debug)]
enum Chunk {
    /// In the line with the size; `named`: the size is over, an extension follows.
    Size {
        size: u64,
        digits: u8,
        named: bool,
    },
    Data(u64),
    /// In the line end behind the data.
    DataEnd,
}

impl Chunk {
    const FIRST: Self = Self::Size { size: 0, digits: 0, named: false };
}

/// What a piece of the body came to.
enum Gained {
    More,
    /// The body, or as much of it as is searched, is complete.
    All,
    Broken,
}

/// One request and its answer.
#[derive(Debug)]
pub struct Http {
    request: Arc<Request>,
    allowance: Allowance,
    /// Of heads that are done with: those of 1xx answers.
    head_bytes: usize,
    stage: Stage,
}

impl Http {
    pub fn new(request: Arc<Request>) -> Self {
        let stage = Stage::Head { held: Vec::new(), line: 0 };
        Self { request, allowance: Allowance::default(), head_bytes: 0, stage }
    }

    fn read(&mut self, mut bytes: &[u8]) -> Option<Verdict> {
        while let Stage::Head { held, line } = &mut self.stage {
            let (taken, complete) = take_head(held, line, bytes, HEAD_BYTES_MAX - self.head_bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            if !held.starts_with(b"HTTP/") && (complete || *line > 0 || held.len() >= LINE_BYTES_MAX) {
                return Some(no_status_line(held));
            }
            if !complete {
                let over = self.head_bytes + held.len() >= HEAD_BYTES_MAX;
                let words = format!("status line and header are longer than {} KiB", HEAD_BYTES_MAX / 1024);
                return over.then(|| Verdict::failure(FailureKind::Overlong, words));
            }
            self.head_bytes += held.len();
            match judge_head(held, &self.request) {
                Head::Interim => self.stage = Stage::Head { held: Vec::new(), line: 0 },
                Head::Decided(verdict) => return Some(verdict),
                Head::Body { status, rest } => self.stage = Stage::Body { status, gathered: Vec::new(), rest },
            }
        }
        let Stage::Body { status, gathered, rest } = &mut self.stage else { return None };
        match rest.gather(gathered, bytes) {
            Gained::More => None,
            Gained::All => Some(judge_body(&self.request, status, gathered)),
            Gained::Broken => Some(Verdict::failure(FailureKind::Malformed, "the body's chunks are not as announced")),
        }
    }
}

impl Conversation for Http {
    fn open(&mut self, out: &mut Vec<u8>) -> Next {
        out.extend_from_slice(&self.request.bytes);
        Next::Read
    }

    fn received(&mut self, bytes: &[u8], _out: &mut Vec<u8>) -> Next {
        let bytes = self.allowance.of_stream(bytes);
        self.read(bytes).or_else(|| self.allowance.exceeded()).map_or(Next::Read, Next::Done)
    }

    fn closed(&mut self) -> Verdict {
        let words = match &self.stage {
            Stage::Head { held, .. } if held.is_empty() => "closed without an answer".into(),
            Stage::Head { held, .. } if !b"HTTP/".iter().zip(held).all(|(a, b)| a == b) => return no_status_line(held),
            Stage::Head { line: 0, .. } => "closed within the status line".into(),
            Stage::Head { .. } => "closed within the header".into(),
            Stage::Body { status, gathered, rest: Rest::ToEnd } => return judge_body(&self.request, status, gathered),
            Stage::Body { gathered, rest, .. } => format!("closed within the body, {}", rest.progress(gathered)),
        };
        Verdict::failure(FailureKind::Closed, words)
    }

    fn timed_out(&self) -> Failure {
        let (kind, words) = match &self.stage {
            Stage::Head { held, .. } if held.is_empty() && self.head_bytes == 0 => {
                (FailureKind::Silent, "accepts connections, but no answer came".into())
            }
            Stage::Head { line: 0, .. } => (FailureKind::Hung, "status line not complete".into()),
            Stage::Head { .. } => (FailureKind::Hung, "header not complete".into()),
            Stage::Body { gathered, rest, .. } => {
                (FailureKind::Hung, format!("body not complete, {}", rest.progress(gathered)))
            }
        };
        Failure { kind, words }
    }
}

/// Appends to a head what belongs to it, and at most as much as it may have; says how much, and whether it ended.
fn take_head(held: &mut Vec<u8>, line: &mut usize, bytes: &[u8], most: usize) -> (usize, bool) {
    for (at, byte) in bytes.iter().enumerate() {
        if held.len() >= most {
            return (at, false);
        }
        held.push(*byte);
        if *byte == b'\n' {
            if matches!(held.get(*line..), Some(b"\n" | b"\r\n")) {
                return (at + 1, true);
            }
            *line = held.len();
        }
    }
    (bytes.len(), false)
}

fn no_status_line(held: &[u8]) -> Verdict {
    Verdict::failure(FailureKind::Malformed, format!("no status line: {}", shown(first_line(held))))
}

/// What a complete head says.
enum Head {
    /// 1xx: another follows (RFC 9110, 15.2).
    Interim,
    Decided(Verdict),
    Body {
        status: String,
        rest: Rest,
    },
}

fn judge_head(held: &[u8], request: &Request) -> Head {
    let malformed = |words: String| Head::Decided(Verdict::failure(FailureKind::Malformed, words));
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut response = Response::new(&mut fields);
    let code = match response.parse(held) {
        Ok(Status::Complete(_)) => response.code.unwrap_or_default(),
        Ok(Status::Partial) => return malformed("header is not complete at its empty line".into()),
        Err(httparse::Error::TooManyHeaders) => {
            let words = format!("more than {FIELDS_MAX} header fields");
            return Head::Decided(Verdict::failure(FailureKind::Overlong, words));
        }
        Err(error) => return malformed(format!("{error} in: {}", shown(first_line(held)))),
    };
    // 101 is final here: nothing was offered to switch to.
    if (100..200).contains(&code) && code != 101 {
        return Head::Interim;
    }
    if !request.accepts(code) {
        let words = format!("status {code}, not {}", request.accepted());
        return Head::Decided(Verdict::failure(FailureKind::Mismatch, words));
    }
    let status = shown(format!("{code} {}", response.reason.unwrap_or_default()).as_bytes());
    if request.body.is_none() {
        return Head::Decided(Verdict::Success(status));
    }
    if request.head_only || matches!(code, 204 | 304) {
        return Head::Decided(judge_body(request, &status, b""));
    }
    match body_rest(response.headers) {
        Some(rest) => Head::Body { status, rest },
        None => malformed("content-length is not one number".into()),
    }
}

fn first_line(held: &[u8]) -> &[u8] {
    held.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// Where the body ends; `None`: its length is no number, or two.
fn body_rest(fields: &[Header<'_>]) -> Option<Rest> {
    let named = |name: &'static str| fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
    // A length beside a coding does not count (RFC 9112, 6.3).
    if let Some(last) = named("transfer-encoding").next_back() {
        let coding = last.value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
        let chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
        return Some(if chunked { Rest::Chunked(Chunk::FIRST) } else { Rest::ToEnd });
    }
    let mut lengths = named("content-length").map(|field| number(field.value.trim_ascii()));
    let Some(first) = lengths.next() else { return Some(Rest::ToEnd) };
    lengths.all(|length| length == first).then_some(first?).map(Rest::Length)
}

/// Digits only: `parse` would take a sign.
fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

impl Rest {
    /// Takes a piece of the body, up to `BODY_BYTES_MAX` in all.
    fn gather(&mut self, gathered: &mut Vec<u8>, mut bytes: &[u8]) -> Gained {
        loop {
            if gathered.len() >= BODY_BYTES_MAX {
                return Gained::All;
            }
            let room = BODY_BYTES_MAX - gathered.len();
            match self {
                Self::Length(0) => return Gained::All,
                _ if bytes.is_empty() => return Gained::More,
                Self::Length(left) | Self::Chunked(Chunk::Data(left)) => {
                    let size = usize::try_from(*left).unwrap_or(usize::MAX).min(room).min(bytes.len());
                    let (data, behind) = bytes.split_at(size);
                    gathered.extend_from_slice(data);
                    bytes = behind;
                    *left -= size as u64;
                    if let Self::Chunked(chunk @ Chunk::Data(0)) = self {
                        *chunk = Chunk::DataEnd;
                    }
                }
                Self::ToEnd => {
                    let (data, behind) = bytes.split_at(bytes.len().min(room));
                    gathered.extend_from_slice(data);
                    bytes = behind;
                }
                Self::Chunked(chunk) => {
                    let Some((byte, behind)) = bytes.split_first() else { return Gained::More };
                    bytes = behind;
                    match chunk.step(*byte) {
                        // The last chunk. Trailer fields may follow: they decide nothing.
                        Some(Chunk::Data(0)) => return Gained::All,
                        Some(next) => *chunk = next,
                        None => return Gained::Broken,
                    }
                }
            }
        }
    }

    /// How far it got, for a message.
    fn progress(&self, gathered: &[u8]) -> String {
        let came = gathered.len();
        match self {
            Self::Length(left) => format!("{came} of {} bytes", left.saturating_add(came as u64)),
            Self::Chunked(_) | Self::ToEnd => format!("{came} bytes"),
        }
    }
}

impl Chunk {
    /// The place after a byte of what surrounds the data; `None`: it cannot stand here.
    fn step(&self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Size { size, digits: 1.., .. }, b'\n') => Some(Self::Data(*size)),
            (Self::Size { size, digits: digits @ 1.., .. }, b'\r' | b';' | b' ' | b'\t') => {
                Some(Self::Size { size: *size, digits: *digits, named: true })
            }
            (Self::Size { size, digits, named: true }, _) => {
                Some(Self::Size { size: *size, digits: *digits, named: true })
            }
            // 15 digits: no server sends a chunk that needs more, and the sum cannot overflow.
            (Self::Size { size, digits: digits @ ..15, named: false }, _) => {
                let digit = char::from(byte).to_digit(16)?;
                Some(Self::Size { size: size * 16 + u64::from(digit), digits: digits + 1, named: false })
            }
            (Self::DataEnd, b'\r') => Some(Self::DataEnd),
            (Self::DataEnd, b'\n') => Some(Self::FIRST),
            (Self::Size { .. } | Self::DataEnd | Self::Data(_), _) => None,
        }
    }
}

fn judge_body(request: &Request, status: &str, body: &[u8]) -> Verdict {
    let Some(wanted) = &request.body else { return Verdict::Success(status.to_owned()) };
    if wanted.is_match(body) {
        return Verdict::Success(format!("{status}, body matches"));
    }
    let part = if body.len() >= BODY_BYTES_MAX { "first 64 KiB of the body" } else { "body" };
    let code = status.split(' ').next().unwrap_or_default();
    let words = format!("status {code}, but no match for '{}' in the {part}", shown(wanted.as_str().as_bytes()));
    Verdict::failure(FailureKind::Mismatch, words)
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
