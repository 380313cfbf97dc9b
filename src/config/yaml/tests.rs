//! The golden files of messages, and what no file may do to the reader.

use std::path::{Path, PathBuf};

use super::*;
use crate::config::model::*;

mod golden;
mod properties;
mod schema;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_example_is_the_site_and_has_neither_errors_nor_warnings() {
    let loaded = load(&root().join("lb.yaml.example")).unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(loaded.render_warnings(), "");
    let config = loaded.config;
    assert_eq!(config.servers.len(), 6);
    let names = |pool: &str| -> Vec<String> {
        config.pools[&Name::new(pool).unwrap()].members.iter().map(|member| member.server.to_string()).collect()
    };
    assert_eq!(names("mx"), ["pc1", "pc3"]);
    assert_eq!(names("webmail-http"), ["pc2", "pc4", "sorry"]);
}

fn refused(file: &Path) -> String {
    load(file).expect_err("it is refused").to_string()
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let folder = std::env::temp_dir().join(format!("lbd-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("lb.yaml");
    let absent = refused(&file);
    std::fs::write(&file, b"interfaces: {ports: [eth1]}\nhostname: M\xfcller\n").unwrap();
    let latin1 = refused(&file);
    std::fs::write(&file, vec![b'#'; 5 << 20]).unwrap();
    let large = refused(&file);
    let directory = refused(&folder);
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(absent.contains("cannot be read: No such file"), "{absent}");
    assert!(latin1.contains("line 2 is not UTF-8"), "{latin1}");
    assert!(large.contains("larger than 4 MiB"), "{large}");
    assert!(directory.contains("not a regular file"), "{directory}");
}

#[test]
fn a_byte_order_mark_and_carriage_returns_do_no_harm() {
    let text = "\u{feff}interfaces: {ports: [eth1]}\r\nhostname: lb1\r\n";
    assert_eq!(parse("lb.yaml", text).unwrap().config.hostname.as_str(), "lb1");
    let refused = parse("lb.yaml", "interfaces: {ports: [eth1]}\r\nhostname: l b\r\n").unwrap_err();
    assert_eq!((refused.diagnostics[0].line, refused.diagnostics[0].column), (Some(2), Some(11)));
}

#[test]
fn columns_count_characters_and_not_bytes() {
    let text = "interfaces: {ports: [eth1]}\npools: {a: {check: {type: \"ü\", rise: 0}}}\n";
    let columns: Vec<_> = parse("lb.yaml", text).unwrap_err().diagnostics.iter().map(|d| d.column).collect();
    assert_eq!(columns, [Some(27), Some(38)]);
}

#[test]
fn an_alias_stands_for_what_it_names() {
    let text = "interfaces: {ports: [eth1]}\nservers: {a: {address: 10.0.0.1}, b: {address: 10.0.0.2}}\n\
                pools:\n  one: &one {members: [a, b], slow-start: 5s}\n  two: *one\n  three: {<<: *one, port: 25}\n";
    let config = parse("lb.yaml", text).unwrap_or_else(|refused| panic!("{refused}")).config;
    let pools: Vec<&Pool> = config.pools.values().collect();
    assert_eq!(pools[0], pools[2]);
    assert_eq!((pools[1].port, pools[1].slow_start), (Some(25), std::time::Duration::from_secs(5)));
}

#[test]
fn diagnostics_are_there_for_machines_too() {
    let refused = parse("lb.yaml", "interfaces: {ports: [eth1]}\npools: {a: {scheduler: maglve}}\n").unwrap_err();
    let json = serde_json::to_value(&refused).unwrap();
    let expected = serde_json::json!({
        "file": "lb.yaml", "omitted": 0,
        "diagnostics": [{
            "severity": "error", "line": 2, "column": 24, "path": "pools/a/scheduler",
            "message": "there is no scheduler `maglve`", "help": "did you mean `maglev`?", "related": [],
        }],
    });
    assert_eq!(json, expected);
}

#[test]
fn a_wrong_item_of_a_list_is_shown_where_it_stands_and_not_where_the_next_one_does() {
    let text = "interfaces: {ports: [eth1]}\nservers: {a: {address: 10.0.0.1}}\npools: {p: {members: [a], port: 25}}\n\
                virtual-servers: {v: {addresses: [192.0.2.x, 10.0.0.1, 192.0.2.2]}}\n";
    let refused = parse("lb.yaml", text).unwrap_err();
    let shown: Vec<_> = refused.diagnostics.iter().map(|d| (d.column, d.message.as_str())).collect();
    assert_eq!(shown.len(), 2, "{refused}");
    assert_eq!(shown[0], (Some(35), "`192.0.2.x` is not an IP address"));
    assert_eq!(shown[1].0, Some(46));
}

/// Of this thread: what a busy machine does besides is no fault of the reader.
fn cpu_time() -> std::time::Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// They are read while the daemon balances: about a second each on a slow machine, and far from minutes anywhere.
#[test]
fn files_made_to_be_slow_are_refused_soon() {
    let many = |line: &dyn Fn(usize) -> String| {
        (0..)
            .map(line)
            .scan(0, |size, line| {
                *size += line.len();
                (*size < 4 << 20).then_some(line)
            })
            .collect::<String>()
    };
    let ports = "interfaces: {ports: [eth1]}\n";
    let servers: String =
        (0..4_000).map(|n| format!("  s{n}: {{address: 10.1.{}.{}}}\n", n / 250, n % 250 + 1)).collect();
    let cases = [
        (
            "dangling members",
            format!(
                "{ports}servers:\n{servers}pools:\n  p:\n    members:\n{}",
                many(&|n| format!("    - x{n}\n"))[..3 << 20].to_owned()
            ),
        ),
        (
            "wrong weights",
            format!(
                "{ports}servers:\n{}",
                many(&|n| format!("  s{n}: {{weight: x}}\n"))[..4_000_000].rsplit_once('\n').unwrap().0.to_owned()
            ),
        ),
        ("one line", format!("pools: {{a: {{members: [{}", "a,".repeat(2_000_000))),
        ("deep", "[".repeat(4_000_000)),
        ("deep keys", "a: {".repeat(1_000_000)),
        (
            "source NAT",
            format!(
                "{ports}source-nat:\n{}",
                many(&|_| "  - {address: 10.0.0.9}\n".into())[..4_000_000].rsplit_once('\n').unwrap().0.to_owned()
            ),
        ),
        (
            "laughter",
            format!(
                "a: &a [{0}]\nb: &b [{1}]\nc: &c [{2}]\nd: [{3}]\n",
                "x,".repeat(99),
                "*a,".repeat(99),
                "*b,".repeat(99),
                "*c,".repeat(99)
            ),
        ),
        (
            "laughing pools",
            format!(
                "{ports}pools:\n  a: &a {{members: [{}]}}\n{}",
                "x, ".repeat(1_000),
                (0..10_000).map(|n| format!("  p{n}: *a\n")).collect::<String>()
            ),
        ),
    ];
    for (name, text) in cases {
        let begin = cpu_time();
        let refused = parse("lb.yaml", &text).expect_err(name);
        let shown = refused.to_string();
        let took = cpu_time() - begin;
        println!("{name}: {took:?}");
        assert!(took < std::time::Duration::from_secs(10), "{name} took {took:?}");
        assert!(shown.len() < 1 << 20, "{name}: the message has {} bytes", shown.len());
        assert!(refused.diagnostics.len() <= 100, "{name}");
    }
}
