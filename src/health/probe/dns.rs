//! DNS (RFC 1035): one question, over UDP or TCP, and what its answer says.
//!
//! Over UDP, what is not the answer to this question is passed over, as a resolver would do: another id or
//! question, a query, a datagram that is no message. Over TCP nobody else can send, so it is malformed.
//! A truncated answer is one, because the server serves; only an `answer` that is wanted cannot be looked for then.

use std::str::FromStr;
use std::sync::Arc;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};

use super::allowance::Allowance;
use super::unaskable::{Unaskable, quoted};
use super::{Conversation, Next};
use crate::config::DnsProbe;
use crate::core::check::{Failure, FailureKind, Verdict};

/// A header (RFC 1035, 4.1.1), bytes.
const HEADER: usize = 12;

/// The answer codes that a configuration can name (IANA, DNS RCODEs, those of a plain query).
const RCODES: [(&str, ResponseCode); 8] = [
    ("NOERROR", ResponseCode::NoError),
    ("FORMERR", ResponseCode::FormErr),
    ("SERVFAIL", ResponseCode::ServFail),
    ("NXDOMAIN", ResponseCode::NXDomain),
    ("NOTIMP", ResponseCode::NotImp),
    ("REFUSED", ResponseCode::Refused),
    ("NOTAUTH", ResponseCode::NotAuth),
    ("BADVERS", ResponseCode::BADVERS),
];

/// What is asked, and what is expected; made once for all probes of a target.
#[derive(Clone, Debug)]
pub struct Question {
    query: Query,
    rcode: Option<ResponseCode>,
    answer: Option<RData>,
    tcp: bool,
}

impl Question {
    pub fn new(probe: &DnsProbe) -> Result<Self, Unaskable> {
        let DnsProbe { query, record, rcode, answer, tcp } = probe;
        let mut name = Name::from_utf8(query).map_err(|_| Unaskable::Query(quoted(query)))?;
        name.set_fqdn(true);
        let kind = RecordType::from_str(&record.to_ascii_uppercase());
        let kind = kind.ok().filter(is_asked_for).ok_or_else(|| Unaskable::Record(quoted(record)))?;
        let known = |word: &String| {
            let found = RCODES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
            found.map(|(_, code)| *code).ok_or_else(|| Unaskable::Rcode(quoted(word)))
        };
        let rcode = rcode.as_ref().map(known).transpose()?;
        let data = |text: &String| {
            let read = RData::try_from_str(kind, text).ok().map(rooted);
            read.ok_or_else(|| Unaskable::Answer { answer: quoted(text), record: kind.to_string() })
        };
        let answer = answer.as_ref().map(data).transpose()?;
        Ok(Self { query: Query::query(name, kind), rcode, answer, tcp: *tcp })
    }

    fn message(&self, id: u16) -> Option<Vec<u8>> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(self.query.clone());
        message.to_vec().ok()
    }

    /// The answer repeats id and question (RFC 1035, 7.3; RFC 5452, 9.1). A server that could not read
    /// the question may leave it out.
    fn is_answered_by(&self, id: u16, message: &Message) -> bool {
        let metadata = &message.metadata;
        let ours = metadata.id == id && metadata.message_type == MessageType::Response;
        let question = match message.queries.as_slice() {
            [] => metadata.response_code != ResponseCode::NoError,
            [query] => {
                query.name().eq_ignore_root(self.query.name())
                    && query.query_type() == self.query.query_type()
                    && query.query_class() == DNSClass::IN
            }
            _ => false,
        };
        ours && metadata.op_code == OpCode::Query && question
    }

    fn judge(&self, message: &Message) -> Verdict {
        let code = message.metadata.response_code;
        let word = rcode_word(code);
        match self.rcode {
            Some(wanted) if wanted != code => {
                return Verdict::failure(FailureKind::Mismatch, format!("{word}, not {}", rcode_word(wanted)));
            }
            None if matches!(code, ResponseCode::ServFail | ResponseCode::Refused) => {
                let advice = match code {
                    ResponseCode::Refused => "does the server answer this balancer, and for this name?",
                    _ => "the server cannot resolve this name",
                };
                return Verdict::failure(FailureKind::Rejected, format!("{word}: {advice}"));
            }
            Some(_) | None => {}
        }
        let records = message.answers.len();
        let count = format!("{records} record{}", if records == 1 { "" } else { "s" });
        let truncated = message.metadata.truncation;
        let Some(wanted) = &self.answer else {
            return Verdict::Success(format!("{word}, {count}{}", if truncated { ", truncated" } else { "" }));
        };
        if message.answers.iter().any(|record| record.data == *wanted) {
            return Verdict::Success(format!("{word}, {count}, one as expected"));
        }
        let words = match truncated && !self.tcp {
            true => format!("{word}, truncated before the expected answer: ask with tcp"),
            false => format!("{word}, {count}, none as expected"),
        };
        Verdict::failure(FailureKind::Mismatch, words)
    }
}

/// Transfers, signatures and options are no questions for a probe.
fn is_asked_for(kind: &RecordType) -> bool {
    let meta = [RecordType::AXFR, RecordType::IXFR, RecordType::OPT, RecordType::TSIG, RecordType::ZERO];
    !meta.contains(kind) && !matches!(kind, RecordType::Unknown(_))
}

/// Names are absolute also without their last dot, for there is no zone that they could be relative to.
fn rooted(mut data: RData) -> RData {
    match &mut data {
        RData::CNAME(name) => name.0.set_fqdn(true),
        RData::NS(name) => name.0.set_fqdn(true),
        RData::PTR(name) => name.0.set_fqdn(true),
        RData::MX(mx) => mx.exchange.set_fqdn(true),
        RData::SRV(srv) => srv.target.set_fqdn(true),
        RData::SOA(soa) => {
            soa.mname.set_fqdn(true);
            soa.rname.set_fqdn(true);
        }
        _ => {}
    }
    data
}

fn rcode_word(code: ResponseCode) -> String {
    let named = RCODES.iter().find(|(_, known)| *known == code);
    named.map_or_else(|| format!("answer code {}", u16::from(code)), |(name, _)| (*name).to_owned())
}

/// One question and its answer.
#[derive(Debug)]
pub struct Dns {
    question: Arc<Question>,
    id: u16,
    allowance: Allowance,
    /// Of TCP: what has come of the length and the message behind it.
    held: Vec<u8>,
    /// Of UDP: datagrams that were not the answer.
    passed_over: usize,
}

impl Dns {
    /// `id` is random, so that nobody who does not see the question can answer it (RFC 5452, 9.2).
    pub fn new(question: Arc<Question>, id: u16) -> Self {
        Self { question, id, allowance: Allowance::default(), held: Vec::new(), passed_over: 0 }
    }

    fn datagram(&mut self, bytes: &[u8]) -> Option<Verdict> {
        self.allowance.of_datagram(bytes);
        let verdict = match Message::from_vec(bytes) {
            Ok(message) if self.question.is_answered_by(self.id, &message) => Some(self.question.judge(&message)),
            Err(_) if self.is_ours(bytes) => Some(malformed()),
            Ok(_) | Err(_) => None,
        };
        self.passed_over += usize::from(verdict.is_none());
        verdict
    }

    /// Of a message that cannot be decoded: its header has our id, and says that it is an answer.
    fn is_ours(&self, bytes: &[u8]) -> bool {
        let [high, low] = self.id.to_be_bytes();
        bytes.len() >= HEADER && matches!(bytes, [a, b, flags, ..] if *a == high && *b == low && flags & 0x80 != 0)
    }

    fn stream(&mut self, bytes: &[u8]) -> Option<Verdict> {
        let bytes = self.allowance.of_stream(bytes);
        self.held.extend_from_slice(bytes);
        let (length, message) = self.held.split_first_chunk()?;
        let message = message.get(..u16::from_be_bytes(*length).into())?;
        Some(match Message::from_vec(message) {
            Ok(message) if self.question.is_answered_by(self.id, &message) => self.question.judge(&message),
            Ok(_) => Verdict::failure(FailureKind::Malformed, "a message that does not answer the question"),
            Err(_) => malformed(),
        })
    }
}

fn malformed() -> Verdict {
    Verdict::failure(FailureKind::Malformed, "an answer that cannot be decoded")
}

impl Conversation for Dns {
    fn open(&mut self, out: &mut Vec<u8>) -> Next {
        let message = self.question.message(self.id);
        let Some(length) = message.as_ref().and_then(|message| u16::try_from(message.len()).ok()) else {
            return Next::Done(Verdict::failure(FailureKind::Local, "the question cannot be encoded"));
        };
        if self.question.tcp {
            out.extend_from_slice(&length.to_be_bytes());
        }
        out.extend(message.unwrap_or_default());
        Next::Read
    }

    fn received(&mut self, bytes: &[u8], _out: &mut Vec<u8>) -> Next {
        let verdict = if self.question.tcp { self.stream(bytes) } else { self.datagram(bytes) };
        verdict.or_else(|| self.allowance.exceeded()).map_or(Next::Read, Next::Done)
    }

    fn closed(&mut self) -> Verdict {
        let words = if self.held.is_empty() { "closed without an answer" } else { "closed within the answer" };
        Verdict::failure(FailureKind::Closed, words)
    }

    fn timed_out(&self) -> Failure {
        let (kind, words) = match (self.question.tcp, self.held.len(), self.passed_over) {
            (true, 0, _) => (FailureKind::Silent, "accepts connections, but no answer came".into()),
            (true, ..) => (FailureKind::Hung, "answer not complete".into()),
            (false, _, 0) => (FailureKind::Timeout, "no answer".into()),
            (false, _, others) => (FailureKind::Timeout, format!("no answer, but {others} to other questions")),
        };
        Failure { kind, words }
    }
}

#[cfg(test)]
#[path = "dns_tests.rs"]
mod tests;
