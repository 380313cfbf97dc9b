//! What the two boxes see of the servers.

use lbd::lab::pair::BEHIND;

use super::stage::Stage;

/// A server whose way from the standby alone is broken is told there, and only there.
#[test]
fn a_server_that_only_the_owner_reaches_is_an_alarm_of_the_standby() {
    let stage = Stage::new();
    let owner = stage.settled();
    let (server, port) = (BEHIND[owner][0], "eth0");
    let mac = ["02:00:00:00:01:01", "02:00:00:00:01:02"][1 - owner];
    // The server does not hear the standby any more, as behind a switch that filters.
    let filter = |act: &str| {
        let rules = match act {
            "add" => format!(
                "table netdev deaf {{ chain ingress {{ type filter hook ingress device {port} priority 0; ether saddr {mac} drop; }}; }}"
            ),
            _ => "delete table netdev deaf".to_owned(),
        };
        let host = stage.site.site.host(server).unwrap();
        let status = host.command("nft").arg(rules).status().unwrap();
        assert!(status.success(), "nft: {status}");
    };
    let alarms = |index: usize| {
        let state = stage.block_on(stage.site.api(index).unwrap().state());
        state.map(|state| state["warnings"].to_string()).unwrap_or_default()
    };
    let worse = |index: usize, side: &str| stage.says(index, &format!("/health/{side}")).to_string();
    assert_eq!(worse(1 - owner, "worse_here"), "[]");
    filter("add");
    stage.until("the standby sees it worse", |_| worse(1 - owner, "worse_here").contains(&format!("/{server}\"")));
    stage.until("it is an alarm there", |_| alarms(1 - owner).contains("the owner reaches what this box does not"));
    assert!(alarms(1 - owner).contains(server), "{}", alarms(1 - owner));
    assert!(!alarms(owner).contains("the owner reaches"), "{}", alarms(owner));
    assert_eq!(worse(owner, "worse_there"), "[]", "an owner compares nothing");
    filter("delete");
    stage.until("both see the same again", |_| {
        worse(1 - owner, "worse_here") == "[]" && !alarms(1 - owner).contains("the owner reaches")
    });
    stage.settled();
}
