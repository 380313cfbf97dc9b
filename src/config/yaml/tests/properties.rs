//! What holds for every text and every configuration.

use proptest::prelude::*;

use super::*;
use crate::config::testing;

fn example() -> String {
    std::fs::read_to_string(root().join("lb.yaml.example")).unwrap()
}

/// Reads a text and says what an operator would see; the point is that it returns.
fn read(text: &str) {
    match parse("lb.yaml", text) {
        Ok(loaded) => {
            let again = parse("lb.yaml", &to_yaml(&loaded.config)).unwrap_or_else(|refused| panic!("{refused}"));
            assert_eq!(again.config, loaded.config);
        }
        Err(refused) => {
            assert!(!refused.diagnostics.is_empty());
            assert!(refused.diagnostics.iter().all(|d| d.severity == Severity::Error && !d.message.is_empty()));
            let lines = text.lines().count() as u32;
            assert!(refused.diagnostics.iter().all(|d| d.line.is_none_or(|line| line <= lines + 1)));
            let shown = refused.to_string();
            assert!(shown.contains("lb.yaml"));
            // A file must not be able to steer the terminal of who reads the error.
            assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        }
    }
}

/// Cuts, doubles, swaps and overwrites parts of the example.
fn mutated(example: &str, edits: &[(u8, usize, usize, String)]) -> String {
    let mut chars: Vec<char> = example.chars().collect();
    for (kind, at, length, insert) in edits {
        let from = at % (chars.len() + 1);
        let to = (from + length % 40).min(chars.len());
        match kind % 4 {
            0 => drop(chars.drain(from..to)),
            1 => drop(chars.splice(from..to, insert.chars())),
            2 => {
                let part = chars[from..to].to_vec();
                chars.splice(from..from, part);
            }
            _ => chars[from..to].reverse(),
        }
    }
    chars.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn no_text_makes_the_reader_panic(text in "(?s).{0,400}") {
        read(&text);
    }

    #[test]
    fn no_text_of_yaml_marks_makes_the_reader_panic(text in "([a-z]{1,3}|[-:{}\\[\\],&*!|>'\"%@`#?\n\t ]|<<|: |- |\n  ){0,80}") {
        read(&text);
    }

    #[test]
    fn no_edit_of_the_example_makes_the_reader_panic(
        edits in prop::collection::vec((any::<u8>(), any::<usize>(), any::<usize>(), "[a-z0-9:{}\\[\\],\"\n .-]{0,12}"), 1..4)
    ) {
        read(&mutated(&example(), &edits));
    }

    #[test]
    fn every_configuration_reads_back_as_it_was_written(seed in any::<u64>(), size in 1_usize..8) {
        let config = testing::config(seed, size);
        let text = to_yaml(&config);
        let read = parse("lb.yaml", &text);
        prop_assert!(read.is_ok(), "{}\n{text}", read.unwrap_err());
        prop_assert_eq!(read.unwrap().config, config, "{}", text);
    }

    #[test]
    fn a_weight_is_taken_exactly_within_its_range(weight in 0_u32..1_100) {
        let text = format!("interfaces: {{ports: [eth1]}}\nservers: {{a: {{address: 10.0.0.1, weight: {weight}}}}}\n");
        prop_assert_eq!(parse("lb.yaml", &text).is_ok(), (1..=1_000).contains(&weight));
    }

    #[test]
    fn a_time_is_taken_exactly_within_its_range(ms in 0_u64..7_200_000) {
        let text = format!("interfaces: {{ports: [eth1]}}\npools: {{a: {{slow-start: {ms}ms}}}}\n");
        prop_assert_eq!(parse("lb.yaml", &text).is_ok(), ms <= 3_600_000);
    }

    #[test]
    fn a_port_is_taken_exactly_within_its_range(port in 0_u32..70_000) {
        let text = format!("interfaces: {{ports: [eth1]}}\npools: {{a: {{port: {port}}}}}\n");
        prop_assert_eq!(parse("lb.yaml", &text).is_ok(), (1..=65_535).contains(&port));
    }
}
