//! `golden/CASE.yaml` is a file with something wrong, `golden/CASE.txt` what an operator reads.
//! After a change: `UPDATE_GOLDEN=1 cargo test golden`, then read the diff.

use super::*;
use crate::golden::hold;

#[test]
fn golden_messages_say_what_they_said_when_last_read() {
    let folder = root().join("src/config/yaml/golden");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    cases.sort();
    assert!(cases.len() > 40, "only {} cases found in {}", cases.len(), folder.display());
    let mut wrong = Vec::new();
    for case in &cases {
        let text = std::fs::read_to_string(case).unwrap();
        let said = match parse("lb.yaml", &text) {
            Ok(loaded) => loaded.render_warnings(),
            Err(refused) => format!("{refused}\n"),
        };
        assert!(!said.is_empty(), "{} is accepted without a word", case.display());
        wrong.extend(hold(&case.with_extension("txt"), &said).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
