//! DNS (RFC 1035) over UDP and TCP: any TXT question is answered with the host's name, any other with none.

use std::io;

use tokio::net::TcpStream;

use super::lines::Lines;

const HEADER: usize = 12;
const TYPE_TXT: u16 = 16;
const TYPE_ANY: u16 = 255;
/// A name has at most 127 labels: 255 bytes.
const NAME_MAX: usize = 255;

/// The answer, or `None` for what is not a question.
pub fn answer(query: &[u8], name: &str) -> Option<Vec<u8>> {
    let [id_high, id_low, flags_high, flags_low, questions_high, questions_low] = query.get(..HEADER)?.first_chunk()?;
    let flags = u16::from_be_bytes([*flags_high, *flags_low]);
    let questions = u16::from_be_bytes([*questions_high, *questions_low]);
    if flags & 0x8000 != 0 {
        return None;
    }
    let recursion_desired = flags & 0x0100;
    let mut reply = vec![*id_high, *id_low];
    let rest = query.get(HEADER..)?;
    let Some(end) = question_end(rest).filter(|_| questions == 1 && flags & 0x7800 == 0) else {
        // FORMERR: a question that is not understood is not repeated.
        reply.extend_from_slice(&(0x8001 | recursion_desired).to_be_bytes());
        reply.extend_from_slice(&[0; 8]);
        return Some(reply);
    };
    let question = rest.get(..end)?;
    let kind = u16::from_be_bytes([*question.get(end - 4)?, *question.get(end - 3)?]);
    let text = name.as_bytes().get(..name.len().min(255))?;
    let answers = u16::from(kind == TYPE_TXT || kind == TYPE_ANY);
    // Authoritative.
    reply.extend_from_slice(&(0x8400 | recursion_desired).to_be_bytes());
    reply.extend_from_slice(&1_u16.to_be_bytes());
    reply.extend_from_slice(&answers.to_be_bytes());
    reply.extend_from_slice(&[0; 4]);
    reply.extend_from_slice(question);
    if answers == 1 {
        let length = u8::try_from(text.len()).ok()?;
        // A pointer to the question's name, TXT, IN, a time to live of 0 s, one string.
        reply.extend_from_slice(&[0xc0, HEADER as u8, 0, TYPE_TXT as u8, 0, 1, 0, 0, 0, 0]);
        reply.extend_from_slice(&(u16::from(length) + 1).to_be_bytes());
        reply.push(length);
        reply.extend_from_slice(text);
    }
    Some(reply)
}

/// Length of the first question: a name without compression, type and class.
fn question_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0_usize;
    loop {
        match usize::from(*bytes.get(at)?) {
            0 => break,
            label @ 1..=63 => at += label + 1,
            _ => return None,
        }
        if at > NAME_MAX {
            return None;
        }
    }
    (at + 5 <= bytes.len()).then_some(at + 5)
}

/// A question for `whoami`, type TXT.
pub fn whoami(id: u16) -> Vec<u8> {
    let mut query = id.to_be_bytes().to_vec();
    query.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    query.extend_from_slice(b"\x06whoami\x00\x00\x10\x00\x01");
    query
}

/// The text in an answer to [`whoami`].
pub fn text_of(reply: &[u8], id: u16) -> Option<String> {
    if reply.get(..2)? != id.to_be_bytes() || reply.get(6..8)? != [0, 1] {
        return None;
    }
    let record = reply.get(HEADER + question_end(reply.get(HEADER..)?)?..)?;
    let length = usize::from(*record.get(12)?);
    Some(String::from_utf8_lossy(record.get(13..13 + length)?).into_owned())
}

/// Messages behind their length (RFC 7766).
pub async fn converse(stream: TcpStream, name: &str) -> io::Result<()> {
    let mut client = Lines::new(stream);
    let mut length = [0; 2];
    while read_all(&mut client, &mut length).await? {
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        if !read_all(&mut client, &mut query).await? {
            break;
        }
        let Some(reply) = answer(&query, name) else { break };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        client.write_bytes(&[&length.to_be_bytes(), reply.as_slice()].concat()).await?;
    }
    Ok(())
}

/// Fills the buffer; false when the client closed before.
async fn read_all(client: &mut Lines, buffer: &mut [u8]) -> io::Result<bool> {
    let mut at = 0;
    while let Some(room) = buffer.get_mut(at..).filter(|room| !room.is_empty()) {
        match client.read_bytes(room).await? {
            0 => return Ok(false),
            count => at += count,
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoami_is_answered_with_the_name() {
        let reply = answer(&whoami(7), "pc3").unwrap();
        assert_eq!(text_of(&reply, 7).as_deref(), Some("pc3"));
        assert_eq!(text_of(&reply, 8), None);
    }

    #[test]
    fn a_question_cut_anywhere_gets_an_error_or_nothing() {
        let query = whoami(7);
        for length in 0..query.len() {
            let reply = answer(&query[..length], "pc3");
            assert!(reply.is_none_or(|r| r[3] & 15 == 1), "cut to {length}");
        }
    }

    #[test]
    fn an_answer_is_not_answered() {
        let reply = answer(&whoami(7), "pc3").unwrap();
        assert_eq!(answer(&reply, "pc4"), None);
    }
}
