//! The files of docs/monitoring: nothing in them that there is not, and nothing without its entry elsewhere.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use crate::support::{Fake, get, start};

const ALERTS: &str = include_str!("../../docs/monitoring/alerts.yaml");
const TESTS: &str = include_str!("../../docs/monitoring/alerts_test.yaml");
const DASHBOARD: &str = include_str!("../../docs/monitoring/grafana.json");
const PAGE: &str = include_str!("../../docs/monitoring.md");
const RUNBOOK: &str = include_str!("../../docs/runbook.md");
const COMMANDS: &str = include_str!("../../docs/cli.md");

/// The metrics that there are, by name; of a histogram its parts.
async fn metrics() -> BTreeSet<String> {
    let server = start(Fake::default()).await;
    let text = get(server.address, "/metrics").await.text().to_owned();
    let mut names = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        names.insert(name.to_owned());
        if kind == "histogram" {
            names.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        }
    }
    assert!(names.len() > 80, "{names:?}");
    names
}

fn named(text: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\blbd_[a-z0-9_]+").unwrap();
    name.find_iter(text).map(|found| found.as_str().to_owned()).collect()
}

fn alerts() -> Vec<&'static str> {
    let alerts: Vec<&str> = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 20, "{alerts:?}");
    assert_eq!(alerts.iter().collect::<BTreeSet<_>>().len(), alerts.len(), "each once");
    alerts
}

fn promtool(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring"))
        .output()
        .expect("promtool is missing; it is in Debian's package `prometheus`, which `make test` installs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), said)
}

#[test]
fn the_alerts_fire_and_are_silent_as_their_tests_say() {
    let (good, said) = promtool(&["test", "rules", "alerts_test.yaml"]);
    assert!(good, "{said}");
    let (good, said) = promtool(&["check", "rules", "alerts.yaml"]);
    assert!(good, "{said}");
    // The files that it names (token, authority) are the reader's.
    let (good, said) = promtool(&["check", "config", "--syntax-only", "prometheus.yml"]);
    assert!(good, "{said}");
}

#[test]
fn a_test_of_an_alert_that_does_not_hold_fails() {
    // The rules with another threshold do not pass the same tests.
    let dir = std::env::temp_dir().join(format!("lbd-alerts-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let changed = ALERTS.replace("lbd_table_capacity > 0.8", "lbd_table_capacity > 0.9");
    assert_ne!(changed, ALERTS);
    std::fs::write(dir.join("alerts.yaml"), changed).unwrap();
    std::fs::write(dir.join("alerts_test.yaml"), TESTS).unwrap();
    let (good, said) = promtool(&["test", "rules", dir.join("alerts_test.yaml").to_str().unwrap()]);
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(!good && said.contains("LbdTableFilling"), "{said}");
}

#[test]
fn every_alert_has_tests_both_ways_a_line_in_the_page_and_an_entry_in_the_runbook() {
    for alert in alerts() {
        for way in ["fires", "is silent"] {
            assert!(TESTS.contains(&format!("- name: {alert} {way}\n")), "no test that {alert} {way}");
        }
        let anchor = alert.to_lowercase();
        assert!(
            ALERTS.contains(&format!("runbook_url: 'docs/runbook.md#{anchor}'")),
            "{alert} does not name its entry"
        );
        assert!(RUNBOOK.contains(&format!("\n## {alert}\n")), "docs/runbook.md has no entry for {alert}");
        assert!(PAGE.contains(&format!("| [{alert}](runbook.md#{anchor}) |")), "docs/monitoring.md lacks {alert}");
    }
    let entries = RUNBOOK.lines().filter_map(|line| line.strip_prefix("## "));
    let of_nothing: Vec<&str> = entries.filter(|entry| !alerts().contains(entry)).collect();
    assert!(of_nothing.is_empty(), "entries of alerts that there are not: {of_nothing:?}");
}

#[tokio::test]
async fn every_metric_that_alerts_and_dashboard_name_is_there() {
    let there = metrics().await;
    for (file, text) in [("alerts.yaml", ALERTS), ("alerts_test.yaml", TESTS), ("grafana.json", DASHBOARD)] {
        let missing: Vec<String> = named(text).into_iter().filter(|name| !there.contains(name)).collect();
        assert!(missing.is_empty(), "{file} names what there is not: {missing:?}");
    }
}

#[test]
fn every_panel_has_a_title_a_unit_a_place_and_something_to_ask() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let (rows, panels): (Vec<&Value>, Vec<&Value>) = panels.iter().partition(|panel| panel["type"] == "row");
    assert!(rows.len() >= 4 && panels.len() >= 25, "{} rows, {} panels", rows.len(), panels.len());
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()), "{panel}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].as_str().is_some_and(|unit| !unit.is_empty()), "{panel}");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "a number twice: {panel}");
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{panel}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            let asked = target["expr"].as_str().unwrap();
            assert!(asked.contains("lbd_") && asked.contains("$instance"), "{asked}");
        }
    }
}

#[test]
fn the_runbook_types_only_commands_that_there_are() {
    let first = Regex::new("`((?:no )?(?:show|server|write|configure) [a-z -]+)`").unwrap();
    let typed: BTreeSet<&str> = first.captures_iter(RUNBOOK).map(|found| found.get(1).unwrap().as_str()).collect();
    assert!(typed.len() >= 8, "{typed:?}");
    for command in typed {
        let mut words = command.split(' ');
        let known = COMMANDS.lines().filter_map(|line| line.strip_prefix("| `")).any(|known| {
            let known = known.split('`').next().unwrap().replace("[no] ", "").replace("no ", "");
            let mut pattern = known.split(' ').map(|word| word.trim_matches(['<', '>', '[', ']']));
            words.clone().filter(|word| *word != "no").all(|word| {
                pattern
                    .next()
                    .is_some_and(|known| known.split("\\|").any(|one| one == word || one == one.to_uppercase()))
            })
        });
        assert!(known, "`{command}` is no command of docs/cli.md");
        words.next();
    }
}
