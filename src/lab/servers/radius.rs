//! RADIUS (RFC 2865, 2866): accepts everybody, and says in a Reply-Message who it is.

use super::RADIUS_SECRET;
use super::md5::digest;

const ACCESS_REQUEST: u8 = 1;
const ACCESS_ACCEPT: u8 = 2;
const ACCOUNTING_REQUEST: u8 = 4;
const ACCOUNTING_RESPONSE: u8 = 5;
/// RFC 5997.
const STATUS_SERVER: u8 = 12;
const USER_NAME: u8 = 1;
const USER_PASSWORD: u8 = 2;
const REPLY_MESSAGE: u8 = 18;
const MESSAGE_AUTHENTICATOR: u8 = 80;
const HEADER: usize = 20;

/// The answer to a packet, or `None` for what RFC 2865 says to discard silently.
///
/// Both ports, 1812 and 1813, understand both kinds of request: a wrong port is not this server's to find.
pub fn answer(request: &[u8], name: &str) -> Option<Vec<u8>> {
    let (&code, &id) = (request.first()?, request.get(1)?);
    let length = usize::from(u16::from_be_bytes([*request.get(2)?, *request.get(3)?]));
    // Bytes beyond the length are padding.
    let request = request.get(..length).filter(|r| r.len() >= HEADER)?;
    let authenticator = request.get(4..HEADER)?;
    let secret = RADIUS_SECRET.as_bytes();
    let answer = match code {
        ACCESS_REQUEST | STATUS_SERVER => ACCESS_ACCEPT,
        ACCOUNTING_REQUEST => {
            // The request's authenticator proves that its sender knows the secret (RFC 2866, 3).
            let expected = digest(&[request.get(..4)?, &[0; 16], request.get(HEADER..)?, secret]);
            if expected.as_slice() != authenticator {
                return None;
            }
            ACCOUNTING_RESPONSE
        }
        _ => return None,
    };

    let text = name.as_bytes().get(..name.len().min(200))?;
    let mut attributes = vec![REPLY_MESSAGE, u8::try_from(text.len()).ok()? + 2];
    attributes.extend_from_slice(text);
    let has_message_authenticator = code == STATUS_SERVER || has_attribute(request, MESSAGE_AUTHENTICATOR);
    let length_of = |attributes: &[u8]| u16::try_from(HEADER + attributes.len()).map(u16::to_be_bytes).ok();
    if has_message_authenticator {
        // HMAC-MD5 over the answer with the request's authenticator and zeros in its own place (RFC 3579, 3.2).
        attributes.extend_from_slice(&[MESSAGE_AUTHENTICATOR, 18]);
        attributes.extend_from_slice(&[0; 16]);
        let length = length_of(&attributes)?;
        let mac = hmac(secret, &[&[answer, id], &length, authenticator, &attributes]);
        attributes.truncate(attributes.len() - 16);
        attributes.extend_from_slice(&mac);
    }
    let length = length_of(&attributes)?;
    let mut reply = vec![answer, id];
    reply.extend_from_slice(&length);
    reply.extend_from_slice(&digest(&[&[answer, id], &length, authenticator, &attributes, secret]));
    reply.extend_from_slice(&attributes);
    Some(reply)
}

/// The text of a Reply-Message in an Access-Accept whose authenticator is right.
pub fn reply_message(reply: &[u8], request_authenticator: &[u8; 16]) -> Option<String> {
    if reply.first() != Some(&ACCESS_ACCEPT) {
        return None;
    }
    let proof = digest(&[reply.get(..4)?, request_authenticator, reply.get(HEADER..)?, RADIUS_SECRET.as_bytes()]);
    if proof.as_slice() != reply.get(4..HEADER)? {
        return None;
    }
    let (_, text) = attributes(reply).find(|(kind, _)| *kind == REPLY_MESSAGE)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// An Access-Request for a user with a password of at most 16 bytes (RFC 2865, 5.2).
pub fn access_request(id: u8, authenticator: &[u8; 16], user: &str, password: &str) -> Vec<u8> {
    let user = user.as_bytes().get(..user.len().min(63)).unwrap_or_default();
    let mut hidden = digest(&[RADIUS_SECRET.as_bytes(), authenticator]);
    for (to, from) in hidden.iter_mut().zip(password.bytes()) {
        *to ^= from;
    }
    let size = user.len() as u8 + 2;
    let mut request = vec![ACCESS_REQUEST, id, 0, HEADER as u8 + size + 18];
    request.extend_from_slice(authenticator);
    request.extend_from_slice(&[USER_NAME, size]);
    request.extend_from_slice(user);
    request.extend_from_slice(&[USER_PASSWORD, 18]);
    request.extend_from_slice(&hidden);
    request
}

fn attributes(packet: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = packet.get(HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (kind, length) = (*rest.first()?, usize::from(*rest.get(1)?));
        let value = rest.get(2..length)?;
        rest = rest.get(length..)?;
        Some((kind, value))
    })
}

fn has_attribute(packet: &[u8], kind: u8) -> bool {
    attributes(packet).any(|(k, _)| k == kind)
}

/// HMAC (RFC 2104) with MD5, for keys of at most 64 bytes.
fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let pad = |with: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect() };
    let (inner, outer) = (pad(0x36), pad(0x5c));
    let mut all: Vec<&[u8]> = vec![&inner];
    all.extend_from_slice(parts);
    digest(&[&outer, &digest(&all)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_request_is_accepted_with_a_valid_authenticator_by_a_server_that_names_itself() {
        let authenticator = [7; 16];
        let reply = answer(&access_request(9, &authenticator, "alice", "wonderland"), "pc1").unwrap();
        assert_eq!(reply[..2], [ACCESS_ACCEPT, 9]);
        assert_eq!(reply_message(&reply, &authenticator).as_deref(), Some("pc1"));
        assert_eq!(reply_message(&reply, &[8; 16]), None, "of another question");
    }

    #[test]
    fn an_accounting_request_without_the_secret_is_discarded() {
        let mut request = vec![ACCOUNTING_REQUEST, 1, 0, 20];
        let proof = digest(&[&request, &[0; 16], RADIUS_SECRET.as_bytes()]);
        request.extend_from_slice(&proof);
        assert_eq!(answer(&request, "pc1").unwrap()[0], ACCOUNTING_RESPONSE);
        request[5] ^= 1;
        assert_eq!(answer(&request, "pc1"), None);
    }

    #[test]
    fn hmac_of_rfc_2202() {
        let mac = hmac(&[0x0b; 16], &[b"Hi ", b"There"]);
        let expected = [0x92, 0x94, 0x72, 0x7a, 0x36, 0x38, 0xbb, 0x1c, 0x13, 0xf4, 0x8e, 0xf8, 0x15, 0x8b, 0xfc, 0x9d];
        assert_eq!(mac, expected);
    }

    #[test]
    fn a_request_cut_anywhere_is_discarded() {
        let request = access_request(9, &[7; 16], "alice", "wonderland");
        for length in 0..request.len() {
            assert_eq!(answer(&request[..length], "pc1"), None, "cut to {length}");
        }
    }
}
