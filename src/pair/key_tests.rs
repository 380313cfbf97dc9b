use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;

const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn counting() -> [u8; KEY_BYTES] {
    std::array::from_fn(|at| at as u8)
}

fn wrong(text: &str) -> (usize, Wrong) {
    match Keys::parse(text) {
        Err(Problem::Line { number, wrong }) => (number, wrong),
        other => panic!("{other:?}"),
    }
}

/// A file of its own, gone at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(content: &[u8], mode: u32) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("lbd-key-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_first_key_seals_and_every_key_opens() {
    let keys = Keys::parse(&format!("# new\n\n 2 {HEX}  # since May\n1 {}\n", "ab".repeat(31) + "cd")).unwrap();
    assert_eq!(keys.sending().id, KeyId(2));
    assert_eq!(keys.find(KeyId(2)), Some(&Key::new(KeyId(2), counting())));
    assert_eq!(keys.find(KeyId(1)).map(|key| key.secret()[31]), Some(0xcd));
    assert_eq!(keys.find(KeyId(3)), None);
}

#[test]
fn a_key_in_base64_is_the_same_key() {
    assert_eq!(Keys::parse(&format!("7 {HEX}")).unwrap(), Keys::parse(&format!("7 {BASE64}\r\n")).unwrap());
}

#[test]
fn a_wrong_line_is_named_by_its_number_and_not_shown() {
    assert_eq!(wrong("\n1"), (2, Wrong::Shape));
    assert_eq!(wrong(&format!("1 {HEX} x")), (1, Wrong::Shape));
    for id in ["0", "256", "-1", "one"] {
        assert_eq!(wrong(&format!("{id} {HEX}")), (1, Wrong::Id));
    }
    for key in [&HEX[1..], &HEX[2..], "zz", &BASE64[4..], &format!("{HEX}00"), &format!("+{}", &HEX[1..])] {
        assert_eq!(wrong(&format!("1 {key}")), (1, Wrong::Key), "{key}");
    }
    assert_eq!(wrong(&format!("1 {}", "00".repeat(32))), (1, Wrong::Trivial));
    assert_eq!(wrong(&format!("1 {HEX}\n1 {BASE64}")), (2, Wrong::Twice(KeyId(1))));
    let many: String = (1..=9).map(|id| format!("{id} {HEX}\n")).collect();
    assert_eq!(wrong(&many), (9, Wrong::TooMany));
    let text = Keys::parse(&format!("1 {}", &HEX[1..])).unwrap_err().to_string();
    assert_eq!(text, "line 1: a key is 64 hexadecimal digits, or 32 bytes in base64");
}

#[test]
fn a_file_without_a_key_is_refused() {
    assert!(matches!(Keys::parse("# none\n\n"), Err(Problem::Empty)));
}

#[test]
fn a_file_that_others_may_read_is_refused_with_the_remedy() {
    let text = format!("1 {HEX}\n");
    for mode in [0o640, 0o604, 0o620, 0o601] {
        let file = Scratch::new(text.as_bytes(), mode);
        let wrong = Keys::load(&file.0).unwrap_err();
        assert!(matches!(wrong.problem, Problem::Open { mode: found } if found == mode), "{wrong}");
        assert!(wrong.to_string().contains("chmod 600"), "{wrong}");
    }
    for mode in [0o600, 0o400] {
        let file = Scratch::new(text.as_bytes(), mode);
        assert_eq!(Keys::load(&file.0).unwrap().sending().id, KeyId(1));
    }
}

#[test]
fn what_is_no_short_text_file_is_refused() {
    let long = Scratch::new(&[b'#'; 16 * 1024 + 1], 0o600);
    assert!(matches!(Keys::load(&long.0).unwrap_err().problem, Problem::TooLong));
    let binary = Scratch::new(&[0xff, 0xfe], 0o600);
    assert!(matches!(Keys::load(&binary.0).unwrap_err().problem, Problem::NotText));
    assert!(matches!(Keys::load(&std::env::temp_dir()).unwrap_err().problem, Problem::NotAFile));
    let none = Path::new("/nonexistent/pair.key");
    let wrong = Keys::load(none).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "pair key file /nonexistent/pair.key: cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn a_new_line_can_be_read_back_and_is_another_key_each_time() {
    let [one, other] = [1, 1].map(|id| new_line(KeyId(id)).unwrap());
    assert_eq!(one.len(), 67);
    assert_ne!(Keys::parse(&one).unwrap(), Keys::parse(&other).unwrap());
    let both = Keys::parse(&format!("{}{}", *one, *new_line(KeyId(255)).unwrap())).unwrap();
    assert!(both.find(KeyId(255)).is_some());
}

#[test]
fn a_key_is_not_shown_by_debug() {
    let shown = format!("{:?}", Keys::parse(&format!("9 {}", "a7".repeat(31) + "a8")).unwrap());
    assert!(!shown.contains("167") && !shown.contains("a7"), "{shown}");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[0-9a-f #\n=+/]{0,200}") {
        let _ = Keys::parse(&text);
    }
}
