use proptest::prelude::*;

use super::*;
use crate::config::common::{common, merge};
use crate::config::testing;

const FILE: &str = "# The second box.
hostname: lb2   # of two

# Ports are numbered as on the housing.
interfaces:
  # left to right
  ports: [eth0]
  inside: [10.1.0.1/24]

# Who serves.
servers:
  pc1: {address: 10.1.0.11}  # old
pools:
  # mail
  relay: {members: [pc1]}
# That is all.
";

fn composed(change: impl FnOnce(&mut Config)) -> String {
    let before = parse("lb.yaml", FILE).unwrap().config;
    let mut after = before.clone();
    change(&mut after);
    let text = compose(FILE, &before, &after);
    assert_eq!(parse("lb.yaml", &text).unwrap().config, after);
    text
}

#[test]
fn a_file_that_says_the_same_is_left_as_it_is() {
    assert_eq!(composed(|_| {}), FILE);
}

#[test]
fn sections_that_are_not_of_the_change_keep_their_text() {
    let text = composed(|config| {
        config.servers.values_mut().for_each(|server| server.weight = 7);
    });
    let expected = FILE.replace("  pc1: {address: 10.1.0.11}  # old\n", "  pc1: {address: 10.1.0.11, weight: 7}\n");
    assert_eq!(text, expected);
}

#[test]
fn sections_come_and_go() {
    let text = composed(|config| {
        config.pools.clear();
        config.interfaces.inside.clear();
        config.source_nat = vec![crate::config::SourceNat {
            address: "10.1.0.9".parse().unwrap(),
            ports: crate::config::SourceNat::PORTS_DEFAULT,
        }];
    });
    assert_eq!(
        text,
        "# The second box.
hostname: lb2   # of two

# Ports are numbered as on the housing.
interfaces:
  ports: [\"eth0\"]

# Who serves.
servers:
  pc1: {address: 10.1.0.11}  # old
source-nat:
  - {address: \"10.1.0.9\"}
# That is all.
"
    );
}

#[test]
fn what_was_left_at_its_default_is_not_spelt_out() {
    let text = "interfaces: {ports: [eth0]}\nservers: {pc1: {address: 10.1.0.11}}\n";
    let before = parse("lb.yaml", text).unwrap().config;
    let mut after = before.clone();
    after.servers.clear();
    assert_eq!(compose(text, &before, &after), "interfaces: {ports: [eth0]}\n");
}

#[test]
fn a_file_of_another_shape_is_written_anew() {
    let text = "{interfaces: {ports: [eth0]}, servers: {pc1: {address: 10.1.0.11}}}\n";
    let before = parse("lb.yaml", text).unwrap().config;
    let mut after = before.clone();
    after.servers.clear();
    assert_eq!(compose(text, &before, &after), to_yaml(&after));
}

proptest! {
    #[test]
    fn whatever_is_composed_says_what_was_meant(one: u64, two: u64) {
        let before = testing::config(one, 3);
        let theirs = testing::config(two, 3);
        let after = merge(&common(&theirs), &Config { interfaces: theirs.interfaces.clone(), ..before.clone() });
        // Pairs of random parts may contradict each other; then there is nothing to write.
        prop_assume!(parse("", &to_yaml(&after)).is_ok());
        let text = compose(&to_yaml(&before), &before, &after);
        prop_assert_eq!(parse("", &text).unwrap().config, after);
    }

    #[test]
    fn no_text_is_taken_amiss(text in "\\PC*") {
        let config = testing::config(1, 2);
        prop_assert_eq!(parse("", &compose(&text, &config, &config)).unwrap().config, config);
    }
}
