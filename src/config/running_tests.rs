use serde_json::json;

use super::*;
use crate::config::testing;

fn base() -> Running {
    let text = "interfaces: {ports: [eth0]}\nservers: {pc1: {address: 10.1.0.11}}\npools: {mx: {profile: smtp, members: [pc1]}}\n\
                virtual-servers: {mail: {addresses: [192.0.2.25], services: {smtp: {pool: mx, mode: dsr}}}}\n";
    Running::of(parse("lb.yaml", text).unwrap().config)
}

/// What is typed onto `before`.
fn typed(before: &Running, pointer: &str, value: Value) -> Result<Running, Refused> {
    let mut tree = before.tree();
    let path: Vec<String> = pointer.split('/').map(str::to_owned).collect();
    put(&mut tree, &path, value);
    Running::read(&tree, before)
}

fn lacks(running: &Running) -> Vec<(String, &str)> {
    running.inactive.iter().map(|one| (one.path.join("/"), one.lacks.as_str())).collect()
}

#[test]
fn a_new_object_is_inactive_until_it_lacks_nothing() {
    let before = base();
    let new = typed(&before, "servers/pc2", json!({"weight": 3})).unwrap();
    assert_eq!(new.config, before.config, "nothing is in force of it");
    assert_eq!(lacks(&new), [("servers/pc2".to_owned(), "server `pc2` has no address")]);
    assert_eq!(new.tree()["servers"]["pc2"], json!({"weight": 3}), "and what was typed is kept");
    let complete = typed(&new, "servers/pc2/address", json!("10.1.0.12")).unwrap();
    assert_eq!(complete.inactive, []);
    assert_eq!(complete.config.servers.len(), 2);
}

#[test]
fn an_inactive_object_is_missed_by_who_names_it_and_the_reason_is_told() {
    let new = typed(&base(), "servers/pc2", json!({})).unwrap();
    let refused = typed(&new, "pools/mx/members", json!(["pc1", "pc2"])).unwrap_err();
    assert_eq!(refused.diagnostics.len(), 1);
    assert_eq!(refused.diagnostics[0].message, "there is no server `pc2`");
    assert_eq!(refused.diagnostics[0].help.as_deref(), Some("it is not complete yet: server `pc2` has no address"));
}

#[test]
fn what_is_in_force_does_not_come_to_lack_anything() {
    let before = base();
    let services = before.tree()["virtual-servers"]["mail"]["services"].clone();
    assert!(typed(&before, "virtual-servers/mail", json!({ "services": services })).is_err());
    assert!(typed(&before, "servers/pc1", json!({})).is_err());
    assert!(typed(&before, "pools/mx/below-min", json!("hold")).is_ok_and(|new| new.config == before.config));
}

#[test]
fn a_part_that_lacks_something_stays_in_force_as_it_was() {
    let before = base();
    let new = typed(&before, "pools/mx/check", json!({"type": "radius"})).unwrap();
    assert_eq!(new.config, before.config);
    assert_eq!(lacks(&new), [("pools/mx/check".to_owned(), "a check of type `radius` lacks `secret-file`")]);
    let complete = typed(&new, "pools/mx/check/secret-file", json!("/etc/lbd/s")).unwrap();
    assert_eq!(complete.inactive, []);
    assert_ne!(complete.config, before.config);
}

#[test]
fn a_service_comes_into_force_when_it_is_complete_beside_those_that_are() {
    let before = base();
    let new = typed(&before, "virtual-servers/mail/services/pop3", json!({"pool": "mx", "port": 110})).unwrap();
    assert_eq!(new.config, before.config);
    let complete = typed(&new, "virtual-servers/mail/services/pop3/mode", json!("dsr")).unwrap();
    assert_eq!(complete.config.virtual_servers.values().next().unwrap().services.len(), 2);
    let new = typed(&before, "virtual-servers/web", json!({"services": {"http": {}}})).unwrap();
    assert_eq!(new.config, before.config);
    assert!(lacks(&new).iter().any(|(path, _)| path == "virtual-servers/web"), "{new:?}");
    assert_eq!(new.tree()["virtual-servers"]["web"], json!({"services": {"http": {}}}));
}

#[test]
fn a_section_that_is_always_there_waits_for_its_missing_key() {
    let before = base();
    let mut new = before.clone();
    for (key, value) in [
        ("interfaces/manage", json!(true)),
        ("interfaces/addresses", json!(["10.0.0.2/24"])),
        ("interfaces/bridge", json!("br0")),
    ] {
        new = typed(&new, key, value).unwrap();
        assert!(!new.config.interfaces.manage, "{key}");
    }
    let complete = typed(&new, "interfaces/mac", json!("02:00:5e:00:00:01")).unwrap();
    assert_eq!((complete.inactive.len(), complete.config.interfaces.manage), (0, true));
    assert_eq!(complete.config.interfaces.addresses.len(), 1);
}

#[test]
fn what_is_wrong_is_refused() {
    let before = base();
    assert!(typed(&before, "pools/mx/members", json!(["pc9"])).is_err());
    assert!(typed(&before, "servers/pc2", json!({"address": "10.1.0.11"})).is_err(), "taken already");
    assert!(typed(&before, "nosuch", json!(1)).is_err());
}

#[test]
fn any_configuration_is_read_as_it_was() {
    for seed in 0..100 {
        let running = Running::of(testing::config(seed, 5));
        assert_eq!(Running::read(&running.tree(), &running).as_ref(), Ok(&running), "seed {seed}");
    }
}
