use super::*;
use crate::config::{Name, testing};

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("lbd-copy-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn open(&self, config: &Config) -> Copying {
        Copying::open(&self.0, config)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn changed(config: &Config) -> Config {
    let mut changed = config.clone();
    changed.servers.values_mut().for_each(|server| server.weight = server.weight % 1_000 + 1);
    changed
}

#[test]
fn a_restart_without_a_change_is_none() {
    let scratch = Scratch::new("same");
    let config = testing::config(1, 3);
    let first = scratch.open(&config).held;
    assert_eq!((first.revision.counter, first.off_duty), (1, false));
    let renamed = Config { hostname: Name::new("another").unwrap(), ..config };
    assert_eq!(scratch.open(&renamed).held, first, "what is of one box is no part of it");
}

#[test]
fn a_file_that_was_changed_while_no_daemon_ran_is_a_change_off_duty() {
    let scratch = Scratch::new("changed");
    let config = testing::config(1, 3);
    let first = scratch.open(&config).held;
    let second = scratch.open(&changed(&config)).held;
    assert_eq!((second.revision.counter, second.off_duty), (2, true));
    assert!(second.lineage.contains(&first.revision));
    assert_eq!(scratch.open(&changed(&config)).held, second, "once");
}

#[test]
fn an_emptied_file_is_that_of_a_blank_box() {
    let scratch = Scratch::new("emptied");
    let config = testing::config(1, 3);
    scratch.open(&config);
    let mut empty = config.clone();
    empty.servers.clear();
    empty.pools.clear();
    empty.virtual_servers.clear();
    let held = scratch.open(&empty).held;
    assert!(held.blank && held.revision.counter == 0);
}

#[test]
fn a_copy_that_was_broken_off_is_known_by_the_file() {
    let scratch = Scratch::new("broken-off");
    let config = testing::config(1, 3);
    let copying = scratch.open(&config);
    let theirs = copying.held.changed(to_yaml(&common(&changed(&config))), false, false);
    copying.keep(Some(&theirs)).unwrap();
    // The file was not replaced yet.
    assert_eq!(scratch.open(&config).held, copying.held);
    copying.keep(Some(&theirs)).unwrap();
    // It was.
    assert_eq!(scratch.open(&changed(&config)).held, theirs);
    assert_eq!(scratch.open(&changed(&config)).held, theirs);
}

#[test]
fn what_another_release_has_written_in_its_own_way_is_still_the_same() {
    let scratch = Scratch::new("release");
    let config = testing::config(1, 3);
    let mut copying = scratch.open(&config);
    let theirs = copying.held.changed(format!("# of lbd 99\n{}", to_yaml(&common(&config))), false, false);
    copying.hold(theirs.clone());
    assert_eq!(scratch.open(&config).held, theirs);
}

#[test]
fn a_damaged_state_is_made_anew() {
    let scratch = Scratch::new("damaged");
    let config = testing::config(1, 3);
    let first = scratch.open(&config).held;
    for damage in ["", "{", "{\"version\":9,\"held\":null,\"next\":null}"] {
        fs::write(scratch.0.join(FILE), damage).unwrap();
        assert_eq!(scratch.open(&config).held, first);
    }
    let text = fs::read_to_string(scratch.0.join(FILE)).unwrap();
    fs::write(scratch.0.join(FILE), text.replace("servers", "Servers")).unwrap();
    assert_eq!(scratch.open(&config).held, first);
}

#[test]
fn what_comes_from_the_other_box_is_taken_as_a_whole_or_not_at_all() {
    let own = testing::config(1, 3);
    let theirs = common(&testing::config(2, 3));
    let text = to_yaml(&theirs);
    let small = Config { servers: Default::default(), ..own.clone() };
    assert_eq!(with_theirs(&to_yaml(&common(&own)), &small), Ok(own.clone()));
    let with = |line: &str| with_theirs(&format!("{text}{line}\n"), &own).unwrap_err();
    // Of a later release.
    assert!(with("telepathy: true").contains("telepathy"), "{}", with("telepathy: true"));
    assert!(with("limits: {connections: 4096}").contains("of one box alone"));
    assert!(with("http: {listen: \"127.0.0.1:1\"}").contains("of one box alone"));
    assert!(with_theirs("servers: [", &own).is_err());
    // Well written, and not possible here.
    let mut twice = own.clone();
    twice.source_nat.extend(own.source_nat.clone());
    let refused = with_theirs(&to_yaml(&common(&twice)), &own).unwrap_err();
    assert!(refused.starts_with("source-nat/") && refused.contains("is a source already"), "{refused}");
}
