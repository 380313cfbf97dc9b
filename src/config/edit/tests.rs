use proptest::prelude::*;

use super::*;
use crate::config::{testing, to_yaml};

const FILE: &str = "\
# Of the site's two relays.
hostname: lb1   # in the rack on the left

interfaces: {ports: [eth0]}
servers:
  pc1: {address: 10.1.0.11}  # the old one
  # Newer machines take twice as many connections.
  pc2: {address: 10.1.0.12, weight: 2}
  \"3\":
    address: 10.1.0.13   # named by a number
pools:
  relay:
    members: [pc1, {server: pc2, weight: 3}, \"3\"]  # all of them
    check: {type: tcp, port: 25}
  pop3:
    # pc1 has the faster disks.
    members:
      - pc1
      - server: pc2   # until Christmas
        backup: true

      # The one below is on loan.
      - '3'
    port: 110
virtual-servers:
  v:
    addresses: [192.0.2.1]
    services:
      smtp: {port: 25, pool: relay, mode: nat}
      pop3: {port: 110, pool: pop3, mode: nat}
";

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn edited(text: &str, pool: Option<&str>, server: &str) -> String {
    let (text, loaded) = without("lb.yaml", text, pool.map(name).as_ref(), &name(server)).unwrap();
    assert_eq!(parse("lb.yaml", &text).unwrap(), loaded);
    text
}

/// The lines that went (`-`) and came (`+`).
fn difference(before: &str, after: &str) -> String {
    let gone = before.lines().filter(|line| !after.lines().any(|l| l == *line)).map(|line| format!("-{line}\n"));
    let come = after.lines().filter(|line| !before.lines().any(|l| l == *line)).map(|line| format!("+{line}\n"));
    gone.chain(come).collect()
}

#[test]
fn a_server_goes_from_all_pools_and_takes_along_nothing_that_is_not_its_own() {
    let mut shown = String::new();
    for server in ["pc1", "pc2", "3"] {
        shown += &format!("== {server}\n{}", difference(FILE, &edited(FILE, None, server)));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn a_member_goes_from_its_pool_alone() {
    let mut shown = String::new();
    for (pool, server) in [("relay", "pc1"), ("relay", "pc2"), ("pop3", "pc2"), ("pop3", "3")] {
        shown += &format!("== {server} of {pool}\n{}", difference(FILE, &edited(FILE, Some(pool), server)));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn the_last_member_leaves_an_empty_list_and_a_warning() {
    let mut text = FILE.to_owned();
    for server in ["pc1", "pc2", "3"] {
        text = edited(&text, Some("pop3"), server);
    }
    let loaded = parse("lb.yaml", &text).unwrap();
    assert!(loaded.config.pools[&name("pop3")].members.is_empty(), "{text}");
    assert!(loaded.warnings.iter().any(|warning| warning.path.contains("pop3")), "{:?}", loaded.warnings);
    for server in ["pc1", "pc2", "3"] {
        text = edited(&text, None, server);
    }
    assert!(parse("lb.yaml", &text).unwrap().config.servers.is_empty(), "{text}");
}

#[test]
fn the_example_loses_any_server_and_any_member_and_no_comment() {
    let example = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/lb.yaml.example")).unwrap();
    let comments = |text: &str| text.lines().filter(|line| line.trim_start().starts_with('#')).count();
    let config = parse("lb.yaml", &example).unwrap().config;
    for server in config.servers.keys() {
        let text = edited(&example, None, server.as_str());
        assert_eq!(comments(&text), comments(&example), "{server}:\n{}", difference(&example, &text));
    }
    for (pool, entry) in &config.pools {
        for member in &entry.members {
            let text = edited(&example, Some(pool.as_str()), member.server.as_str());
            assert_eq!(comments(&text), comments(&example), "{pool}:\n{}", difference(&example, &text));
        }
    }
}

#[test]
fn what_cannot_be_edited_as_meant_is_refused_and_says_what_to_do() {
    // One list behind two names: taking a member out of one pool would take it out of both.
    let shared = FILE
        .replace("members: [pc1, {server: pc2, weight: 3}, \"3\"]", "members: &all [pc1, pc2]")
        .replace("port: 110\nv", "port: 110\n  web: {members: *all, port: 80}\nv");
    let refusal = without("lb.yaml", &shared, Some(&name("web")), &name("pc1")).unwrap_err();
    assert!(refusal.to_string().contains("take it out by hand"), "{refusal}");
    let broken = FILE.replace("hostname:", "hostnme:");
    let refusal = without("lb.yaml", &broken, None, &name("pc1")).unwrap_err().to_string();
    assert!(refusal.contains("lb.yaml:2:1"), "{refusal}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn of_any_configuration_any_server_and_member_can_be_taken_out(seed in any::<u64>(), size in 1_usize..6) {
        let config = testing::config(seed, size);
        let text = to_yaml(&config);
        let mut cases: Vec<(Option<&Name>, &Name)> = config.servers.keys().map(|server| (None, server)).collect();
        cases.extend(config.pools.iter().flat_map(|(pool, p)| p.members.iter().map(move |m| (Some(pool), &m.server))));
        for (pool, server) in cases {
            match without("lb.yaml", &text, pool, server) {
                Ok((_, loaded)) => prop_assert_eq!(loaded.config, meant(&config, pool, server)),
                // Without the member a pool may lack what a service needs of it.
                Err(EditError::Invalid(_)) => {}
                Err(error) => prop_assert!(false, "{pool:?} {server}: {error}\n{text}"),
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(
        cut in any::<usize>(), insert in "[a-z0-9:{}\\[\\]&*\",'#\n -]{0,12}"
    ) {
        let at = cut % FILE.len();
        let text = format!("{}{insert}{}", &FILE[..at], &FILE[at..]);
        let _ = without("lb.yaml", &text, None, &name("pc1"));
        let _ = without("lb.yaml", &text, Some(&name("pop3")), &name("3"));
    }
}
