use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::core::check::State;

fn flap(n: u64) -> What {
    What::CheckDown {
        server: format!("pc{n}"),
        check: "smtp 10.1.0.2:25".into(),
        from: State::Up,
        why: "silence".into(),
    }
}

fn at(seconds: u64) -> UnixTime {
    UnixTime(Duration::from_secs(seconds))
}

#[test]
fn a_storm_of_flaps_pushes_out_neither_takeovers_nor_configuration_changes() {
    let mut history = History::default();
    history.record(at(1), &What::OwnerBecame {});
    history.record(at(2), &What::Configured { revision: 7, by: "admin".into() });
    for n in 0..100_000 {
        history.record(at(3), &flap(n));
    }
    let of = |class| history.page(&EventFilter { classes: [class].into(), limit: LIMIT_MAX, ..Default::default() });
    assert_eq!(of(Class::Pair).events[0].event, "owner-became");
    assert_eq!(of(Class::Config).events[0].fields["revision"], "7");
    let health = of(Class::Health).events;
    assert_eq!(health.len(), Class::Health.kept());
    assert_eq!(health.last().unwrap().fields["server"], "pc99999");
}

#[test]
fn failed_logins_push_out_no_login() {
    let mut history = History::default();
    history.record(at(1), &What::LoggedIn { user: "a".into(), from: "b".into(), how: "a key".into(), level: 15 });
    for _ in 0..10_000 {
        history.record(at(1), &What::LoginFailed { user: "x".into(), from: "y".into(), what: "wrong password".into() });
    }
    assert_eq!(history.of(Class::Login).count(), 1);
    assert_eq!(history.of(Class::Denied).count(), Class::Denied.kept());
}

#[test]
fn pages_lead_back_to_the_oldest_and_on_from_where_one_was() {
    let mut history = History::default();
    (0..250).for_each(|n| drop(history.record(at(n), &flap(n))));
    let mut filter = EventFilter::default();
    let mut seen = Vec::new();
    loop {
        let page = history.page(&filter);
        assert!(page.events.len() <= LIMIT_DEFAULT);
        seen.extend(page.events.iter().rev().map(|event| event.number));
        if !page.more {
            break;
        }
        filter.before = page.events.first().map(|event| event.number);
    }
    assert_eq!(seen, (1..=250).rev().collect::<Vec<_>>());
    let since = history.page(&EventFilter { after: Some(240), limit: 4, ..Default::default() });
    assert_eq!(since.events.iter().map(|event| event.number).collect::<Vec<_>>(), [241, 242, 243, 244]);
    assert!(since.more);
}

#[test]
fn a_filter_is_about_class_severity_and_time() {
    let mut history = History::default();
    history.record(at(10), &flap(1));
    history.record(at(20), &What::ServiceDown { service: "mail/smtp".into(), family: "ipv4".into() });
    history.record(at(30), &What::Stopping {});
    let names = |filter: &EventFilter| {
        history.page(filter).events.iter().map(|event| event.event.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&EventFilter::default()), "check-down service-down stopping");
    assert_eq!(names(&EventFilter { severity: Some(Severity::Error), ..Default::default() }), "service-down");
    assert_eq!(names(&EventFilter { since_ms: Some(20_000), ..Default::default() }), "service-down stopping");
    assert_eq!(names(&EventFilter { classes: [Class::Daemon].into(), ..Default::default() }), "stopping");
}

#[test]
fn numbers_go_on_behind_those_of_an_earlier_run() {
    let mut first = History::default();
    first.record(at(1), &flap(1));
    let last = first.record(at(1), &What::Stopping {});
    let mut second = History::default();
    second.restore(Event::from_line(&last.to_line()).unwrap());
    assert_eq!(second.record(at(2), &flap(2)).number, 3);
    // Nothing is left above it, and nothing ends.
    second.restore(Event { number: u64::MAX, ..(*last).clone() });
    second.record(at(3), &flap(3));
}

#[test]
fn what_anybody_may_have_typed_is_one_line_of_bounded_length() {
    let user = "\u{1b}[2J\n".repeat(1000);
    let what = What::LoginFailed { user, from: "192.0.2.1".into(), what: "wrong password".into() };
    let event = Event::new(1, at(0), &what);
    assert!(event.text.chars().count() <= TEXT_MAX + 1, "{}", event.text.len());
    assert!(event.fields["user"].chars().count() <= FIELD_MAX + 1);
    assert!(!event.text.chars().chain(event.fields["user"].chars()).any(char::is_control));
    assert_eq!(Event::from_line(&event.to_line()), Some(event.clone()));
    let line = event.to_line();
    assert!(!line.contains('\n'));
    assert_eq!(Event::from_line(line.strip_suffix("}").unwrap()), None);
}

#[test]
fn names_are_unique_and_in_the_manual_with_class_severity_and_fields() {
    let page = std::fs::read_to_string("docs/logging.md").unwrap();
    let mut names = BTreeSet::new();
    for described in What::ALL {
        assert!(names.insert(described.name), "{} is there twice", described.name);
        let fields: Vec<String> = described.fields.iter().map(|field| format!("`{field}`")).collect();
        let Described { name, class, severity, meaning, .. } = described;
        let row = format!("| `{name}` | {class} | {severity} | {} | {} |", fields.join(", "), meaning.trim());
        assert!(page.contains(&row), "docs/logging.md lacks this row:\n{row}");
    }
    for class in Class::ALL {
        assert!(page.contains(&format!("| {class} | {} |", class.kept())), "docs/logging.md: {class} {}", class.kept());
    }
}
