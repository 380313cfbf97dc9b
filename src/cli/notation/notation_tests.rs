use super::*;
use crate::config::{Config, parse, testing};

fn read(draft: &Draft) -> Config {
    let text = draft.tree.to_string();
    parse("running", &text).unwrap_or_else(|refused| panic!("{refused}\n{text}")).config
}

fn typed(lines: &[String]) -> Draft {
    let mut draft = Draft::new(Value::Null);
    draft.apply_all(lines.iter().map(String::as_str)).unwrap_or_else(|error| panic!("{error}\n{}", lines.join("\n")));
    draft
}

#[test]
fn every_line_of_the_table_compiles() {
    let sections = 2 * SECTIONS.len() + 2 + 2 + 3 * Mode::ALL.len();
    assert_eq!(GRAMMARS.len(), 3 * LINES.len() + sections);
}

/// What is printed and typed again is the same configuration, for any.
#[test]
fn any_configuration_can_be_said_in_commands() {
    for seed in 0..500 {
        let config = testing::config(seed, 6);
        let lines = render(&config);
        assert_eq!(read(&typed(&lines)), config, "seed {seed}:\n{}", lines.join("\n"));
    }
}

/// Pasted onto the same box, nothing moves.
#[test]
fn commands_that_are_typed_again_change_nothing() {
    for seed in 0..100 {
        let config = testing::config(seed, 4);
        let lines = render(&config);
        let mut draft = Draft::new(tree_of(&config));
        draft.apply_all(lines.iter().map(String::as_str)).unwrap();
        assert_eq!(read(&draft), config, "seed {seed}:\n{}", lines.join("\n"));
    }
}

/// What was typed and taken back leaves nothing.
#[test]
fn every_command_can_be_undone() {
    for (enter, line, undo) in [
        ("", "username admin privilege 15", "no username admin"),
        ("username admin", "username admin secret 9 $6$", "no username admin secret"),
        (
            "username admin",
            "username admin ssh-key ssh-ed25519 AAAA me at home",
            "no username admin ssh-key ssh-ed25519 AAAA",
        ),
        ("", "enable secret 9 $6$", "no enable secret"),
        ("", "banner motd #Keep out#", "no banner motd"),
        ("", "ip ssh access-class 192.0.2.0/24", "no ip ssh access-class 192.0.2.0/24"),
        ("", "exec-timeout 5", "no exec-timeout"),
        ("", "bridge port eth0", "no bridge port eth0"),
        ("", "server inside FD00::0:1/64", "no server inside fd00::1/64"),
        ("", "server source-nat-ip 10.1.0.9 ports 2000-2999", "no server source-nat-ip 10.1.0.9"),
        ("", "server limit connections 4096", "no server limit connections"),
        ("", "server real mx1", "no server real mx1"),
        ("", "server backup", "no server backup"),
        ("server backup", "path lan local 10.0.0.1 peer 10.0.0.2", "no path lan"),
        ("server backup", "fence timeout 5s", "no fence timeout"),
        ("server backup", "fence command /bin/off a b", "no fence command"),
        ("server real r", "link 02:00:00:00:00:01 port p1 vlan 7", "no link"),
        ("server pool p", "member mx1 weight 3", "no member mx1"),
        ("server pool p", "migrate to q", "no migrate to"),
        ("server pool p", "check status 200", "no check status 200"),
        ("server virtual v", "ip-address 2001:DB8::25", "no ip-address 2001:db8::25"),
        ("server virtual v\nservice s", "sticky on", "no sticky"),
        ("server virtual v\nservice s", "udp max-age 5s", "no udp max-age"),
        ("server virtual v\nservice s", "timeout udp 5s", "no timeout udp 5s"),
    ] {
        let mut draft = Draft::new(Value::Null);
        draft.apply_all(enter.lines()).unwrap();
        let before = draft.clone();
        draft.apply(line).unwrap();
        assert_ne!(draft.tree, before.tree, "{line}");
        draft.place = before.place.clone();
        draft.apply(undo).unwrap();
        assert_eq!(draft.tree, before.tree, "{undo}");
        // And where there is nothing to take back, nothing comes of it.
        draft.apply(undo).unwrap();
        assert_eq!(draft.tree, before.tree, "{undo}, again");
    }
}

#[test]
fn a_client_goes_on_being_bound_when_a_detail_of_it_is_taken_back() {
    let mut draft = Draft::new(Value::Null);
    draft.apply_all(["server virtual v", "service s", "sticky on", "sticky timeout 5m", "no sticky timeout"]).unwrap();
    assert_eq!(draft.tree["virtual-servers"]["v"]["services"]["s"], serde_json::json!({"persistence": {}}));
}

#[test]
fn a_bad_value_is_not_taken_for_a_command_further_out() {
    let mut draft = Draft::new(Value::Null);
    draft.apply_all(["server backup"]).unwrap();
    assert!(draft.apply("h 50x").is_err(), "no hostname");
    draft.apply_all(["server virtual v", "service s"]).unwrap();
    assert!(draft.apply("s yes").is_err(), "no service");
    assert!(draft.apply("no ip-address").is_err(), "not all addresses");
    let tree = serde_json::json!({"pair": {}, "virtual-servers": {"v": {"services": {"s": {}}}}});
    assert_eq!(draft.tree, tree);
}

#[test]
fn an_admin_walks_from_one_object_straight_into_another() {
    let mut draft = Draft::new(Value::Null);
    for line in [
        "server real mx1",
        " ip-addr 10.1.0.11",
        " weight 2",
        "server real mx2",
        " ip-address 10.1.0.12",
        "server pool mx",
        " prof smtp",
        " member mx1 weight 3",
        " member mx2 port smtp backup",
        " member mx1",
        " check interval 5",
        "server virtual mail",
        " ip-address 192.0.2.25",
        " service smtp",
        "  pool mx",
        "  mode nat",
        " service submission",
        "  pool mx",
        "  mode nat",
        "  port 587",
        "! a comment",
        "bridge port eth0",
        "server inside 10.1.0.1/24",
    ] {
        draft.apply(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    let config = read(&draft);
    let pool = config.pools.values().next().unwrap();
    assert_eq!(pool.members.len(), 2, "a member that is named again is changed");
    assert_eq!((pool.members[0].weight, pool.members[1].port, pool.members[1].backup), (None, Some(25), true));
    assert_eq!(pool.check.interval, std::time::Duration::from_secs(5));
    assert_eq!(config.virtual_servers.values().next().unwrap().services.len(), 2);
    assert_eq!(draft.place.mode(), Mode::Global);
}

#[test]
fn a_line_that_is_none_changes_nothing_and_is_told_by_its_number() {
    let mut draft = Draft::new(Value::Null);
    let error = draft.apply_all(["server real mx1", " weight 0", " weight 5"]).unwrap_err();
    assert_eq!(error.number, 2);
    assert_eq!(error.why, NoMatch::Invalid { at: 8, why: Some("0 is not within 1 to 1000".into()) });
    assert_eq!(draft.tree, serde_json::json!({"servers": {"mx1": {}}}));
}

/// A password that is typed is never in the tree, and a hash is taken as it is.
#[test]
fn a_password_is_hashed_before_it_is_kept() {
    let mut draft = Draft::new(Value::Null);
    draft
        .apply_all(["bridge port eth0", "username admin privilege 15 secret sword?fish", "enable secret \"a b\""])
        .unwrap();
    let text = draft.tree.to_string();
    assert!(!text.contains("sword") && !text.contains("a b"), "{text}");
    let config = read(&draft);
    let admin = config.users.values().next().unwrap();
    assert!(admin.level == 15 && admin.secret.as_ref().unwrap().is("sword?fish"));
    assert!(config.enable_secret.unwrap().is("a b"));
    let before = draft.tree["users"]["admin"]["secret"].clone();
    draft.apply_all(["username admin privilege 7", "username admin ssh-key ssh-ed25519 AAAA"]).unwrap();
    assert_eq!(draft.tree["users"]["admin"]["secret"], before, "what a line does not say stays");
    let hash = before.as_str().unwrap();
    let Err(NoMatch::Invalid { why: Some(why), .. }) = draft.apply(&format!("username admin secret {hash}")) else {
        panic!("a hash without its 9 was hashed again");
    };
    assert!(why.contains("secret 9"), "{why}");
    draft.apply(&format!("username admin sec 9 {hash}")).unwrap();
    assert_eq!(draft.tree["users"]["admin"]["secret"], before);
}

#[test]
fn a_key_that_is_typed_again_is_the_same_with_another_comment() {
    let mut draft = Draft::new(Value::Null);
    draft
        .apply_all(["username a ssh-key ssh-ed25519 AAAA one", "username a ssh-key ssh-ed25519 AAAA two words"])
        .unwrap();
    assert_eq!(draft.tree["users"]["a"]["ssh-keys"], serde_json::json!(["ssh-ed25519 AAAA two words"]));
}

#[test]
fn a_banner_is_written_as_ios_writes_it() {
    for (line, text) in [
        ("banner motd #Keep out#", "Keep out"),
        ("banner motd ^CKeep out^C", "Keep out"),
        ("banner motd Keep out", "Keep out"),
        ("banner motd ~one~~two # ~", "one\n\ntwo # "),
    ] {
        let mut draft = Draft::new(Value::Null);
        draft.apply(line).unwrap();
        assert_eq!(draft.tree["banner"], text, "{line}");
        assert_eq!(unmarked(&marked(text)), text);
    }
}
