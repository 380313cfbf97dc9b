use proptest::prelude::*;

use super::*;
use crate::config::testing;

proptest! {
    #[test]
    fn a_merge_has_what_is_common_of_the_one_and_the_rest_of_the_other(one: u64, two: u64) {
        let (theirs, mine) = (testing::config(one, 3), testing::config(two, 3));
        let merged = merge(&common(&theirs), &mine);
        prop_assert_eq!(common(&merged), common(&theirs));
        prop_assert_eq!(merge(&mine, &merged), mine.clone(), "what is of the box is still there");
        prop_assert_eq!(merge(&theirs, &mine), merged, "what is of the other box is left out");
    }

    #[test]
    fn what_a_box_has_is_put_together_again_of_its_two_parts(seed: u64) {
        let config = testing::config(seed, 3);
        prop_assert_eq!(merge(&common(&config), &config), config);
    }

    #[test]
    fn what_is_common_is_read_back_as_it_was_written(seed: u64) {
        let common = common(&testing::config(seed, 3));
        let text = crate::config::to_yaml(&common);
        prop_assert_eq!(crate::config::yaml::read_part("common", &text).unwrap(), common, "{}", text);
    }
}

#[test]
fn nothing_of_one_box_is_common() {
    let mut config = testing::config(7, 3);
    let before = common(&config);
    config.hostname = Name::new("another").unwrap();
    config.interfaces.ports = vec!["eth9".into()];
    config.interfaces.mac = None;
    config.pair = None;
    config.limits.connections = 4096;
    config.http.listen = vec!["127.0.0.1:1".parse().unwrap()];
    config.ssh.enabled = !config.ssh.enabled;
    assert_eq!(common(&config), before);
    config.banner = "another".into();
    assert_ne!(common(&config), before);
    config.banner.clone_from(&before.banner);
    config.interfaces.inside.clear();
    config.servers.clear();
    assert_ne!(common(&config), before);
}

#[test]
fn a_box_with_ports_and_a_pair_alone_is_blank_and_its_file_is_valid() {
    let text = "hostname: lb2\ninterfaces: {ports: [eth0], mac: \"02:00:5e:00:00:02\"}\npair:\n  \
                peer-mac: \"02:00:5e:00:00:01\"\n  key-file: /etc/lbd/pair.key\n  \
                paths: {lan: {local: 10.1.0.3, peer: 10.1.0.2}, cable: {device: /dev/ttyS1}}\n";
    let loaded = crate::config::parse("lb.yaml", text).unwrap();
    assert!(is_blank(&loaded.config));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert!(!is_blank(&testing::config(1, 2)));
}
