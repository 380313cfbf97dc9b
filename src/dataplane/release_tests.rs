use std::collections::BTreeSet;

use super::*;

const OF: TokenOf = TokenOf { owner: 1, boot: 2, start: 3, number: 4 };

/// By Python's `hmac.new(bytes(range(32)), b"lbd release token 1\0" + struct.pack(">4Q", 1, 2, 3, 4), "sha256")`.
#[test]
fn a_token_is_what_another_implementation_makes_of_the_same() {
    let key: [u8; 32] = std::array::from_fn(|i| i as u8);
    let text: String = Token::new(&key, &OF).bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(text, "6a9c72e624d223a7ffa914eb6fa239d1");
}

#[test]
fn every_part_makes_another_token() {
    let of = [
        OF,
        TokenOf { owner: 2, ..OF },
        TokenOf { boot: 3, ..OF },
        TokenOf { start: 4, ..OF },
        TokenOf { number: 5, ..OF },
        TokenOf { boot: 3, start: 2, ..OF },
    ];
    let tokens: BTreeSet<[u8; 16]> = of.iter().map(|of| Token::new(&[7; 32], of).bytes()).collect();
    assert_eq!(tokens.len(), of.len());
    assert_ne!(Token::new(&[8; 32], &OF), Token::new(&[7; 32], &OF));
}

#[test]
fn a_token_is_not_printed() {
    assert_eq!(format!("{:?}", Token::new(&[7; 32], &OF)), "Token(…)");
}
