use std::time::Duration;

use super::*;
use crate::core::plan::fixture;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

fn drain(since: u64, deadline: Option<u64>, then: Then) -> Order {
    Order {
        state: AdminState::Draining,
        since: UnixTime::from_millis(since),
        deadline: deadline.map(UnixTime::from_millis),
        then,
        connections_at_begin: 7,
    }
}

#[test]
fn a_server_is_enabled_until_told_otherwise_and_its_orders_are_kept_whole() {
    let mut admin = Admin::default();
    let member = member(&name("relay"), &name("pc3"));
    assert_eq!(admin.of_server(&name("pc2")), AdminState::Enabled);
    assert_eq!(admin.put(&(&name("pc2")).into(), drain(5_001, Some(9_002), Then::Remove)), AdminState::Enabled);
    admin.put(&member, Order { state: AdminState::Disabled, ..drain(6_000, None, Then::Nothing) });
    insta::assert_snapshot!(admin.to_json().unwrap(), @r#"{"version":2,"orders":[{"server":"pc2","state":"draining","since_ms":5001,"deadline_ms":9002,"then":"remove","connections_at_begin":7},{"server":"pc3","pool":"relay","state":"disabled","since_ms":6000,"then":"nothing","connections_at_begin":7}]}"#);
    assert_eq!(Admin::from_json(&admin.to_json().unwrap(), UnixTime::default()).unwrap(), admin);
}

#[test]
fn in_a_pool_the_stronger_of_the_servers_order_and_the_members_own_holds() {
    let (relay, pop3, pc2) = (name("relay"), name("pop3"), name("pc2"));
    let mut admin = Admin::default();
    admin.set(member(&relay, &pc2), AdminState::Draining, at(1));
    assert_eq!(admin.of_member(&relay, &pc2), AdminState::Draining);
    assert_eq!(admin.of_member(&pop3, &pc2), AdminState::Enabled, "the other pool has no part in it");
    assert_eq!(admin.of_server(&pc2), AdminState::Enabled);
    admin.set(&pc2, AdminState::Disabled, at(2));
    assert_eq!(admin.of_member(&relay, &pc2), AdminState::Disabled);
    assert_eq!(admin.of_member(&pop3, &pc2), AdminState::Disabled);
    admin.enable(&(&pc2).into(), at(3));
    assert_eq!(admin.of_member(&relay, &pc2), AdminState::Draining, "the member's own order is still in force");
}

#[test]
fn a_drain_that_is_ordered_again_takes_the_new_deadline_and_keeps_its_begin() {
    let subject = Subject::Server(name("pc2"));
    let mut admin = Admin::default();
    admin.put(&subject, drain(1_000, None, Then::Nothing));
    let again = Order { connections_at_begin: 3, ..drain(8_000, Some(9_000), Then::Remove) };
    assert_eq!(admin.put(&subject, again), AdminState::Draining);
    assert_eq!(admin.order(&subject), Some(&drain(1_000, Some(9_000), Then::Remove)));
    // An order of another kind begins anew.
    admin.put(&subject, Order { state: AdminState::Disabled, ..drain(9_500, None, Then::Nothing) });
    assert_eq!(admin.order(&subject).unwrap().since, UnixTime::from_millis(9_500));
}

#[test]
fn only_what_was_out_is_remembered_as_enabled_again() {
    let (relay, pc1) = (name("relay"), name("pc1"));
    let mut admin = Admin::default();
    admin.set(&pc1, AdminState::Enabled, at(1));
    assert_eq!(admin.enabled_at(&relay, &pc1), None);
    admin.set(&pc1, AdminState::Draining, at(2));
    admin.set(&pc1, AdminState::Enabled, at(3));
    admin.set(&pc1, AdminState::Enabled, at(4));
    assert_eq!(admin.enabled_at(&relay, &pc1), Some(at(3)));
    admin.set(member(&relay, &pc1), AdminState::Draining, at(5));
    admin.set(member(&relay, &pc1), AdminState::Enabled, at(6));
    assert_eq!(admin.enabled_at(&relay, &pc1), Some(at(6)), "the later of the two");
    assert_eq!(admin.enabled_at(&name("pop3"), &pc1), Some(at(3)));
    assert_eq!(Admin::from_json(&admin.to_json().unwrap(), UnixTime::default()).unwrap(), Admin::default());
}

#[test]
fn a_reload_keeps_the_orders_about_what_still_exists_and_forgets_the_others() {
    let config = fixture::config(2, 1);
    let (pool, one) = (config.pools.keys().next().unwrap().clone(), fixture::server(1));
    let mut admin = Admin::default();
    admin.set(&one, AdminState::Draining, Moment::default());
    admin.set(member(&pool, &one), AdminState::Draining, Moment::default());
    assert!(!admin.retain_configured(&config));
    for gone in [Subject::Server(name("gone")), member(&name("gone"), &one), member(&pool, &name("gone"))] {
        admin.set(gone.clone(), AdminState::Disabled, Moment::default());
        assert!(admin.retain_configured(&config));
        assert_eq!(admin.of(&gone), AdminState::Enabled);
    }
    assert_eq!(admin.orders().count(), 2);
}

#[test]
fn a_file_of_version_1_is_read() {
    let now = UnixTime::from_millis(77);
    let admin = Admin::from_json(r#"{"version":1,"servers":{"pc2":"draining","pc3":"disabled","pc4":"enabled"}}"#, now);
    let admin = admin.unwrap();
    assert_eq!(admin.orders().count(), 2);
    let order = admin.order(&Subject::Server(name("pc2"))).unwrap();
    let expected = Order { connections_at_begin: 0, ..drain(77, None, Then::Nothing) };
    assert_eq!(*order, expected);
    assert_eq!(admin.of_server(&name("pc3")), AdminState::Disabled);
}

#[test]
fn a_file_of_another_version_or_shape_is_refused_with_advice() {
    for (text, word) in [
        (r#"{"version":3,"orders":[]}"#, "version 3"),
        (r#"{"version":1,"servers":{"pc1":"resting"}}"#, "resting"),
        (r#"{"version":1,"servers":{"p c":"draining"}}"#, "cannot stand in a name"),
        (r#"{"version":2,"servers":{}}"#, "unknown field `servers`"),
        (r#"{"version":2,"orders":[{"server":"pc1"}]}"#, "missing field `state`"),
        (
            r#"{"version":2,"orders":[{"server":"pc1","pool":"","state":"draining","since_ms":1,"connections_at_begin":0}]}"#,
            "a name cannot be empty",
        ),
        ("", "remove the file"),
    ] {
        let message = Admin::from_json(text, UnixTime::default()).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn what_is_overdue_is_so_in_its_own_pools_until_another_order_comes() {
    let (relay, pop3, pc2) = (name("relay"), name("pop3"), name("pc2"));
    let subject = member(&relay, &pc2);
    let mut admin = Admin::default();
    assert!(!admin.set_overdue(&subject), "nothing was ordered");
    for order in [true, false] {
        admin.put(&subject, drain(1, Some(2), Then::Nothing));
        assert!(!admin.is_overdue(&relay, &pc2));
        assert!(admin.set_overdue(&subject) && !admin.set_overdue(&subject));
        assert!(admin.is_overdue(&relay, &pc2) && !admin.is_overdue(&pop3, &pc2));
        if order {
            admin.enable(&subject, at(3));
            assert!(!admin.is_overdue(&relay, &pc2));
        }
    }
    let server = Subject::Server(pc2.clone());
    admin.put(&server, drain(1, Some(2), Then::Nothing));
    admin.set_overdue(&server);
    assert!(admin.is_overdue(&pop3, &pc2), "of a server in all its pools");
}
