//! What a server said, as it can stand in a message.

/// Longest piece of an answer that is shown, in characters.
pub const SHOWN_MAX: usize = 80;

/// The text of an answer on one line: without its line end, control and undecodable bytes as `?`, cut with
/// an ellipsis. Whatever the server sends, the result is printable and at most `SHOWN_MAX` + 1 characters.
pub fn shown(answer: &[u8]) -> String {
    let answer = answer.trim_ascii_end();
    // Enough bytes for the characters that are shown: UTF-8 has at most 4 for one.
    let cut = answer.get(..SHOWN_MAX * 4 + 1).unwrap_or(answer);
    let text = String::from_utf8_lossy(cut);
    let printable = |c: char| if c.is_control() || c == char::REPLACEMENT_CHARACTER || invisible(c) { '?' } else { c };
    let mut short: String = text.chars().take(SHOWN_MAX).map(printable).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        short.push('…');
    }
    short
}

/// Characters that change how the line around them reads: direction marks, separators, zero width.
fn invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_is_shown_without_its_line_end() {
        assert_eq!(shown(b"220 mx1 ESMTP\r\n"), "220 mx1 ESMTP");
    }

    #[test]
    fn what_could_disturb_a_terminal_is_replaced() {
        assert_eq!(shown(b"220 \x1b[2Jmx\0\xff\xe2\x80\xae"), "220 ?[2Jmx???");
    }

    #[test]
    fn a_long_answer_is_cut_also_within_a_character() {
        assert_eq!(shown(&[b'a'; 4000]).chars().count(), SHOWN_MAX + 1);
        assert_eq!(shown("ü".repeat(4000).as_bytes()).chars().count(), SHOWN_MAX + 1);
    }
}
