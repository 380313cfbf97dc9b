//! Sessions of the command line, with a daemon that is a fake.

// The tests of the listener use more of it.
#[allow(dead_code)]
#[path = "cli/support.rs"]
mod support;

#[path = "cli/configuring.rs"]
mod configuring;

use std::sync::Arc;
use std::time::Duration;

use lbd::cli::Input;
use lbd::cli::session::{Session, Terminal, Who};
use lbd::core::admin::Then;
use lbd::core::control::{Action, Order};
use support::fake::Fake;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// What is waited for has this long.
const PATIENCE: Duration = Duration::from_secs(10);

fn who(highest: u8) -> Who {
    Who { user: "admin".into(), from: "203.0.113.7".into(), level: 1, highest }
}

/// One command, as `ssh lb1 …` has it: its exit status, and what it says.
async fn exec(fake: &Arc<Fake>, line: &str) -> (u8, String) {
    let (output, mut screen) = duplex(1 << 20);
    let terminal = Terminal { interactive: false, rows: 0, columns: 0 };
    let (_keys, input) = mpsc::channel(1);
    let admin = Who { level: 15, ..who(15) };
    let status = Session::new(fake.clone(), admin, input, output, terminal).execute(line).await.unwrap();
    let mut text = String::new();
    screen.read_to_string(&mut text).await.unwrap();
    (status, text)
}

/// A session at a terminal.
struct Live {
    keys: mpsc::Sender<Input>,
    screen: DuplexStream,
    session: JoinHandle<std::io::Result<u8>>,
    seen: String,
}

impl Live {
    fn new(fake: &Arc<Fake>, highest: u8, rows: usize) -> Self {
        let (output, screen) = duplex(1 << 16);
        let (keys, input) = mpsc::channel(16);
        let terminal = Terminal { interactive: true, rows, columns: 80 };
        let session = tokio::spawn(Session::new(fake.clone(), who(highest), input, output, terminal).run());
        Self { keys, screen, session, seen: String::new() }
    }

    async fn type_keys(&mut self, keys: &str) {
        self.keys.send(Input::Bytes(keys.as_bytes().to_vec())).await.unwrap();
    }

    /// Reads until the screen ends so; what has come since the last time.
    async fn until(&mut self, end: &str) -> String {
        let mut text = String::new();
        let reading = async {
            let mut buffer = [0; 4096];
            while !text.ends_with(end) {
                let count = self.screen.read(&mut buffer).await.unwrap();
                assert!(count > 0, "the session has ended: {text:?}");
                text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
            }
        };
        let done = timeout(PATIENCE, reading).await;
        assert!(done.is_ok(), "no {end:?} came: {text:?}");
        self.seen.push_str(&text);
        text
    }

    /// A line, and what it shows up to the next prompt.
    async fn line(&mut self, line: &str, prompt: &str) -> String {
        self.type_keys(&format!("{line}\r")).await;
        let text = self.until(prompt).await;
        text.strip_suffix(prompt).unwrap().to_owned()
    }
}

#[tokio::test]
async fn what_the_commands_show() {
    let fake = Arc::new(Fake::default());
    let mut screens = String::new();
    for line in [
        "show version",
        "show warnings",
        "show server real",
        "show server real pc2",
        "show server virtual",
        "show server bind",
        "show server pool",
        "show server keepalive",
        "show server backup",
        "show server sessions",
        "show server traffic",
        "show interfaces",
        "show running-config",
    ] {
        let (status, text) = exec(&fake, line).await;
        assert_eq!(status, 0, "{text}");
        screens += &format!("lb1#{line}\n{text}\n");
    }
    insta::assert_snapshot!(screens);
}

#[tokio::test]
async fn no_line_is_wider_than_the_terminal() {
    let fake = Arc::new(Fake::default());
    let mut live = Live::new(&fake, 15, 0);
    live.until("lb1>").await;
    for line in ["show server real", "show server keepalive", "show server virtual", "show server traffic"] {
        let text = live.line(line, "lb1>").await;
        assert!(text.lines().count() > 3, "{text}");
        assert!(text.lines().all(|line| line.trim_end().chars().count() <= 80), "{text}");
    }
}

#[tokio::test]
async fn a_session_feels_as_fingers_expect() {
    let fake = Arc::new(Fake::default());
    let mut live = Live::new(&fake, 15, 0);
    live.until("lb1>").await;
    let text = live.line("sh ver", "lb1>").await;
    assert!(text.starts_with("sh ver\r\nlbd 0.1.0"), "{text}");
    assert_eq!(
        live.line("server switchover", "lb1>").await,
        concat!("server switchover\r\n", "    ^\r\n", "% Invalid input detected at '^' marker.\r\n\r\n",),
        "not at this level"
    );
    assert_eq!(live.line("en", "lb1#").await, "en\r\n");
    assert_eq!(
        live.line("show sarver", "lb1#").await,
        concat!("show sarver\r\n", "         ^\r\n", "% Invalid input detected at '^' marker.\r\n\r\n",)
    );
    assert_eq!(live.line("e", "lb1#").await, "e\r\n% Ambiguous command:  \"e\"\r\n\r\n");
    assert_eq!(live.line("show server", "lb1#").await, "show server\r\n% Incomplete command.\r\n\r\n");
    assert_eq!(live.line("show privilege", "lb1#").await, "show privilege\r\nCurrent privilege level is 15\r\n");
    assert_eq!(live.line("! a comment", "lb1#").await, "! a comment\r\n");
    assert_eq!(live.line("disable", "lb1>").await, "disable\r\n");
    assert_eq!(live.line("", "lb1>").await, "\r\n");
    live.type_keys("show s\x03").await;
    assert_eq!(live.until("lb1>").await, "show s^C\r\nlb1>");
    live.type_keys("exit\r").await;
    assert_eq!(timeout(PATIENCE, live.session).await.unwrap().unwrap().unwrap(), 0);
}

#[tokio::test]
async fn help_and_tab_work_where_the_cursor_is() {
    let fake = Arc::new(Fake::default());
    let mut live = Live::new(&fake, 15, 0);
    live.until("lb1>").await;
    live.type_keys("sh?").await;
    assert_eq!(live.until("lb1>sh").await, "sh?\r\nshow\r\nlb1>sh");
    live.type_keys("\t").await;
    assert_eq!(live.until("ow ").await, "ow ");
    live.type_keys("server real ?").await;
    let text = live.until("lb1>show server real ").await;
    for expected in ["\r\n  REAL  One of them\r\n", "\r\n  <cr>\r\n"] {
        assert!(text.contains(expected), "{text:?}");
    }
    live.type_keys("p\t").await;
    assert_eq!(live.until("pc").await, "pc", "there are pc2 and pc4");
    live.type_keys("4 | inc Weight\r").await;
    assert!(live.until("lb1>").await.contains("\r\nWeight: 10   MaxConn: 0   CurConn: 110000\r\nlb1>"));
}

#[tokio::test]
async fn long_answers_come_page_by_page() {
    let fake = Arc::new(Fake::default());
    let mut live = Live::new(&fake, 15, 6);
    live.until("lb1>").await;
    live.type_keys("show server backup\r").await;
    let page = live.until(" --More-- ").await;
    assert_eq!(page.lines().count(), 7, "the line, five of the answer, and the question: {page:?}");
    live.type_keys("\r").await;
    let one = live.until(" --More-- ").await;
    assert_eq!(one.matches("\r\n").count(), 1, "{one:?}");
    live.type_keys("q").await;
    let rest = live.until("lb1>").await;
    assert!(!rest.contains("\r\n"), "nothing more is shown: {rest:?}");
    live.line("terminal length 0", "lb1>").await;
    assert!(!live.line("show server backup", "lb1>").await.contains("More"));
}

#[tokio::test]
async fn the_table_of_connections_streams_and_stops_when_nobody_reads_it() {
    let fake = Arc::new(Fake { rows: 5_000_000, ..Fake::default() });
    let (status, text) = exec(&fake, "show server session limit 3").await;
    assert_eq!((status, text.lines().count()), (0, 5), "{text}");
    assert!(text.ends_with("3 connections; perhaps there are more: say a `limit`\n"), "{text}");
    let (_, text) = exec(&fake, "show server session limit 2 | json").await;
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{text}");
    let (_, text) = exec(&fake, "show server session limit 4000 | count tcp").await;
    assert_eq!(text, "Number of lines which match regexp = 4000\n");

    let mut live = Live::new(&fake, 15, 24);
    live.until("lb1>").await;
    live.type_keys("show server session limit 5000000\r").await;
    live.until(" --More-- ").await;
    live.type_keys("q").await;
    live.until("lb1>").await;
    live.line("terminal length 0", "lb1>").await;
    live.type_keys("show server session limit 5000000\r").await;
    live.until("\r\n").await;
    live.type_keys("\x03").await;
    live.until("lb1>").await;
    assert!(fake.produced.load(std::sync::atomic::Ordering::SeqCst) < 4_000_000, "it did not stop");
}

#[tokio::test]
async fn the_configuration_is_shown_as_tools_expect_it() {
    let fake = Arc::new(Fake::default());
    let (status, text) = exec(&fake, "show running-config").await;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((status, lines[0], lines[1]), (0, "Building configuration...", ""));
    assert!(lines[2].starts_with("Current configuration : "), "{text}");
    assert!(lines[3].starts_with("hostname ") && lines.last() == Some(&"end"), "{text}");
    let (_, text) = exec(&fake, "sh run | section server real").await;
    assert!(text.lines().all(|line| line.starts_with("server real ") || line.starts_with(' ')), "{text}");
    let mut live = Live::new(&fake, 1, 0);
    live.until("lb1>").await;
    assert!(live.line("show running-config", "lb1>").await.contains("% Invalid input"), "not at this level");
}

#[tokio::test]
async fn the_keys_at_the_end_of_a_page_are_taken_as_keys() {
    let fake = Arc::new(Fake::default());
    let mut live = Live::new(&fake, 15, 6);
    live.until("lb1>").await;
    // As some clients end a line: the second byte is of the first key.
    live.type_keys("show server backup\r\n").await;
    live.until(" --More-- ").await;
    live.type_keys("\x1b[6~").await;
    live.until("lb1>").await;
    assert_eq!(live.line("show privilege", "lb1>").await, "show privilege\r\nCurrent privilege level is 1\r\n");
}

#[tokio::test]
async fn a_filter_sees_what_does_not_fit_on_the_screen() {
    let fake = Arc::new(Fake::default());
    let mut live = Live::new(&fake, 15, 0);
    live.until("lb1>").await;
    assert!(!live.line("show server keepalive", "lb1>").await.contains("500 µs"));
    assert!(live.line("show server keepalive | include 500 µs", "lb1>").await.contains("500 µs"));
}

#[tokio::test]
async fn who_may_not_is_not_let() {
    let fake = Arc::new(Fake::default());
    let mut live = Live::new(&fake, 1, 0);
    live.until("lb1>").await;
    live.line("enable", "Password: ").await;
    live.type_keys("not this\r").await;
    assert_eq!(live.until("lb1>").await, "\r\n% Access denied\r\nlb1>", "and nothing of it is shown");
    live.line("enable", "Password: ").await;
    live.type_keys("change me\r").await;
    live.until("lb1#").await;
    // Without a password nobody is asked for one.
    fake.configuration.lock().unwrap().running.config.enable_secret = None;
    live.line("disable", "lb1>").await;
    assert_eq!(live.line("enable", "lb1>").await, "enable\r\n% Access denied\r\n");
}

#[tokio::test]
async fn orders_reach_the_daemon_and_its_refusals_the_operator() {
    let fake = Arc::new(Fake::default());
    let (status, text) = exec(&fake, "server drain pc2 pool mx deadline 30m remove").await;
    assert_eq!(status, 0, "{text}");
    let deadline = Some(Duration::from_secs(1_800));
    let action = Action::Drain { deadline, then: Then::Remove };
    let expected = Order { server: "pc2".into(), pool: Some("mx".into()), action, force: false };
    assert_eq!(*fake.ordered.lock().unwrap(), Some(expected));
    assert!(text.starts_with("pc2 in pool mx: enabled -> draining, 110000 connections\n"), "{text}");

    let (status, text) = exec(&fake, "server disable pc4").await;
    assert_eq!((status, text.starts_with("% \"pc4\" is the last member")), (1, true), "{text}");
    let (status, text) = exec(&fake, "server disable pc4 force").await;
    assert_eq!(status, 0, "{text}");
    let (status, text) = exec(&fake, "server drain pc2 deadline 8w").await;
    assert_eq!((status, text.contains("% Invalid input detected")), (1, true), "{text}");
    let (status, text) = exec(&fake, "server drain pc2 deadline 999h").await;
    assert_eq!((status, text.starts_with("% the deadline: ")), (1, true), "{text}");
}

#[tokio::test]
async fn a_command_by_itself_has_an_exit_status_and_json() {
    let fake = Arc::new(Fake::default());
    let (status, text) = exec(&fake, "show server real nosuch").await;
    assert_eq!((status, text.as_str()), (1, "% there is no real server nosuch\n"));
    let (status, text) = exec(&fake, "show nosuch").await;
    assert_eq!((status, text.as_str()), (1, "     ^\n% Invalid input detected at '^' marker.\n\n"));
    let (status, text) = exec(&fake, "show server backup | json").await;
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &value["owns"]), (0, &serde_json::Value::Bool(true)), "{text}");
    let (status, text) = exec(&fake, "show server real | count pc").await;
    assert_eq!((status, text.as_str()), (0, "Number of lines which match regexp = 2\n"));
    assert_eq!(exec(&fake, "terminal length 0 | include x").await.0, 1);
}

#[tokio::test]
async fn a_script_is_done_line_by_line_and_tells_if_one_was_refused() {
    let fake = Arc::new(Fake::default());
    // The last line need not be ended, and a question mark in a script is one.
    for (script, expected) in
        [("show privilege\nshow version | inc a?q\nshow priv", 0), ("nosuch\nshow privilege\n", 1)]
    {
        let (output, mut screen) = duplex(1 << 16);
        let (keys, input) = mpsc::channel(4);
        keys.send(Input::Bytes(script.as_bytes().to_vec())).await.unwrap();
        drop(keys);
        let terminal = Terminal { interactive: false, rows: 0, columns: 0 };
        let status = Session::new(fake.clone(), who(15), input, output, terminal).run().await.unwrap();
        let mut text = String::new();
        screen.read_to_string(&mut text).await.unwrap();
        assert_eq!(status, expected, "{text}");
        assert!(text.ends_with("Current privilege level is 1\n") && !text.contains("lb1>"), "{text:?}");
    }
}

#[tokio::test]
async fn an_interrupt_ends_the_wait_for_a_daemon_that_does_not_answer() {
    let fake = Arc::new(Fake { delay: Duration::from_millis(200), ..Fake::default() });
    let mut live = Live::new(&fake, 15, 0);
    live.until("lb1>").await;
    live.line("enable", "lb1#").await;
    live.type_keys("server enable pc2\r\x03").await;
    assert!(live.until("lb1#").await.contains("% interrupted"));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_session() {
    let fake = Arc::new(Fake::default());
    let live = Live::new(&fake, 15, 0);
    drop(live.keys);
    assert_eq!(timeout(PATIENCE, live.session).await.unwrap().unwrap().unwrap(), 0);
    let mut live = Live::new(&fake, 15, 0);
    live.until("lb1>").await;
    live.type_keys("show server real\r").await;
    drop(live.screen);
    assert!(timeout(PATIENCE, live.session).await.unwrap().unwrap().is_err());
}

#[tokio::test]
async fn what_is_written_down_is_shown_beside_the_line_that_is_typed() {
    use std::io::Write;

    let fake = Arc::new(Fake::default());
    let mut live = Live::new(&fake, 15, 0);
    live.until("lb1>").await;
    live.line("en", "lb1#").await;
    live.line("term mon", "lb1#").await;
    live.type_keys("show ver").await;
    live.until("show ver").await;
    lbd::cli::monitor::writer().write_all(b"WARN pc1: up -> down\n").unwrap();
    let text = live.until("lb1#show ver").await;
    assert!(text.ends_with("\rWARN pc1: up -> down\r\nlb1#show ver"), "{text:?}");
    live.type_keys("\x15terminal no monitor\r").await;
    live.until("terminal no monitor\r\nlb1#").await;
    lbd::cli::monitor::writer().write_all(b"WARN pc2: up -> down\n").unwrap();
    let text = live.line("show logging | include pc[12]", "lb1#").await;
    assert_eq!(text, "show logging | include pc[12]\r\nWARN pc1: up -> down\r\nWARN pc2: up -> down\r\n");
}
