//! The configuration, typed.

use std::fmt::Write;

use lbd::core::control::{Change, Control};

use super::*;

/// At the prompt of the configuration.
async fn configuring(fake: &Arc<Fake>) -> Live {
    let mut live = Live::new(fake, 15, 0);
    live.until("lb1>").await;
    live.line("en", "lb1#").await;
    let text = live.line("conf t", "lb1(config)#").await;
    assert_eq!(text, "conf t\r\nEnter configuration commands, one per line.  End with CNTL/Z.\r\n");
    live
}

fn printed(fake: &Fake) -> String {
    lbd::cli::notation::render_running(&fake.configuration.lock().unwrap().running).join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_server_is_typed_and_acts_at_once() {
    let fake = Arc::new(Fake::default());
    let mut live = configuring(&fake).await;
    for (line, prompt) in [
        ("server real pc9", "lb1(config-rs-pc9)#"),
        (" ip-addr 10.1.0.99", "lb1(config-rs-pc9)#"),
        ("server pool news", "lb1(config-pool-news)#"),
        (" profile http", "lb1(config-pool-news)#"),
        (" member pc9", "lb1(config-pool-news)#"),
        ("server virtual news", "lb1(config-vs-news)#"),
        (" ip-address 192.0.2.119", "lb1(config-vs-news)#"),
        (" service http", "lb1(config-service-http)#"),
        ("  pool news", "lb1(config-service-http)#"),
        ("  mode dsr", "lb1(config-service-http)#"),
        ("exit", "lb1(config-vs-news)#"),
        ("exit", "lb1(config)#"),
    ] {
        let text = live.line(line, prompt).await;
        assert_eq!(text, format!("{line}\r\n"), "nothing is said to what is right");
    }
    assert!(printed(&fake).contains("server virtual news\n ip-address 192.0.2.119\n service http\n  pool news"));
    assert_eq!(live.line("exit", "lb1#").await, "exit\r\n");
    let text = live.line("show archive config differences", "lb1#").await;
    assert!(text.contains("!Contextual Config Diffs:\r\n"), "{text}");
    assert!(text.contains("\r\n+server real pc9\r\n+ ip-address 10.1.0.99\r\n"), "{text}");
    assert_eq!(live.line("wr mem", "lb1#").await, "wr mem\r\nBuilding configuration...\r\n[OK]\r\n");
    let text = live.line("show archive config differences", "lb1#").await;
    assert!(text.ends_with("!No changes were found\r\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_is_refused_with_its_reason_and_the_rest_stands() {
    let fake = Arc::new(Fake::default());
    let mut live = configuring(&fake).await;
    let pool = "lb1(config-pool-mx)#";
    live.line("server pool mx", pool).await;
    let text = live.line("member pc99", pool).await;
    assert!(text.starts_with("member pc99\r\n% there is no server `pc99`; there are `pc1`, `pc2`"), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
    assert_eq!(
        live.line("chek interval 5s", pool).await,
        format!("chek interval 5s\r\n{}^\r\n% Invalid input detected at '^' marker.\r\n\r\n", " ".repeat(pool.len()))
    );
    assert_eq!(live.line("check interval 5s", pool).await, "check interval 5s\r\n");
    live.type_keys("\x1a").await;
    live.until("lb1#").await;
    assert!(printed(&fake).contains(" check interval 5s"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_incomplete_waits_and_says_what_it_lacks() {
    let fake = Arc::new(Fake::default());
    let mut live = configuring(&fake).await;
    live.line("server real pc9", "lb1(config-rs-pc9)#").await;
    let text = live.line("do show running-config | include pc9", "lb1(config-rs-pc9)#").await;
    assert!(text.contains("! Not in force: servers pc9: server `pc9` has no address\r\nserver real pc9\r\n"), "{text}");
    live.line("end", "lb1#").await;
    live.line("conf t", "lb1(config)#").await;
    live.line("no server real pc9", "lb1(config)#").await;
    assert!(!printed(&fake).contains("pc9"));
}

#[tokio::test(flavor = "multi_thread")]
async fn help_and_completion_know_the_mode() {
    let fake = Arc::new(Fake::default());
    let mut live = configuring(&fake).await;
    live.line("server real pc1", "lb1(config-rs-pc1)#").await;
    live.type_keys("we").await;
    live.until("we").await;
    live.type_keys("\t").await;
    assert_eq!(live.until("ight ").await, "ight ");
    live.type_keys("?").await;
    let text = live.until("lb1(config-rs-pc1)#weight ").await;
    assert!(text.contains("<1-1000>  Share of new connections"), "{text}");
    live.type_keys("\x15").await;
    live.type_keys("server p?").await;
    let text = live.until("#server p").await;
    assert!(text.contains("pool\r\n"), "words of the modes further out: {text}");
    // Names of what there is.
    live.type_keys("\x15server pool mx\r").await;
    live.until("lb1(config-pool-mx)#").await;
    live.type_keys("member pc2\t").await;
    live.until("member pc2 ").await;
    live.type_keys("weight 2\r").await;
    let text = live.until("lb1(config-pool-mx)#").await;
    assert!(!text.contains('%'), "{text}");
    live.type_keys("do show priv?").await;
    let text = live.until("#do show priv").await;
    assert!(text.contains("privilege\r\n"), "{text}");
}

/// As a terminal sends it: faster than it is worked on.
#[tokio::test(flavor = "multi_thread")]
async fn a_paste_is_shown_as_if_it_had_been_typed() {
    let fake = Arc::new(Fake::default());
    let mut live = configuring(&fake).await;
    let lines =
        ["server real pc9", " ip-address 10.1.0.99", " weight 0", " weight 7", "!", "hostname lb7", "end", "show priv"];
    live.type_keys(&lines.map(|line| format!("{line}\r")).concat()).await;
    let text = live.until("15\r\nlb7#").await;
    let expected = "server real pc9\r\n\
        lb1(config-rs-pc9)# ip-address 10.1.0.99\r\n\
        lb1(config-rs-pc9)# weight 0\r\n\
        \x20                          ^\r\n% Invalid input detected at '^' marker.\r\n% 0 is not within 1 to 1000\r\n\r\n\
        lb1(config-rs-pc9)# weight 7\r\n\
        lb1(config-rs-pc9)#!\r\n\
        lb1(config-rs-pc9)#hostname lb7\r\n\
        lb7(config)#end\r\n\
        lb7#show priv\r\nCurrent privilege level is 15\r\nlb7#";
    assert_eq!(text, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_lines_are_pasted_within_ten_seconds() {
    let fake = Arc::new(Fake::default());
    let mut live = configuring(&fake).await;
    let mut text = String::new();
    for n in 0..1_250 {
        let address = format!("10.{}.{}.{}", 20 + n / 10_000, n / 100, 1 + n % 100);
        write!(text, "server real r{n}\r ip-address {address}\r weight 5\r max-conn {n}\r").unwrap();
    }
    text.push_str("end\r");
    let begun = std::time::Instant::now();
    let keys = live.keys.clone();
    let typing = tokio::spawn(async move {
        for piece in text.as_bytes().chunks(8_192) {
            keys.send(Input::Bytes(piece.to_vec())).await.unwrap();
        }
    });
    let shown = live.until("lb1#").await;
    typing.await.unwrap();
    let took = begun.elapsed();
    assert!(!shown.contains('%'), "{}", shown.lines().find(|line| line.contains('%')).unwrap_or_default());
    assert!(took < Duration::from_secs(10), "{took:?}");
    eprintln!("5,000 lines took {took:?}");
    assert!(fake.configuration.lock().unwrap().running.config.servers.len() > 1_250);
}

/// Somebody else changes the configuration at the same moment: neither change is lost.
#[tokio::test(flavor = "multi_thread")]
async fn two_editors_do_not_overwrite_each_other() {
    let fake = Arc::new(Fake::default());
    let mut one = configuring(&fake).await;
    let mut other = configuring(&fake).await;
    let (a, b) = tokio::join!(
        async {
            for n in 0..40 {
                one.line(&format!("server real a{n}"), &format!("lb1(config-rs-a{n})#")).await;
                one.line(&format!("ip-address 10.8.0.{}", n + 1), &format!("lb1(config-rs-a{n})#")).await;
            }
        },
        async {
            for n in 0..40 {
                other.line(&format!("server real b{n}"), &format!("lb1(config-rs-b{n})#")).await;
                other.line(&format!("ip-address 10.9.0.{}", n + 1), &format!("lb1(config-rs-b{n})#")).await;
            }
        }
    );
    ((), ()) = (a, b);
    let servers = &fake.configuration.lock().unwrap().running.config.servers;
    assert_eq!(servers.keys().filter(|name| name.as_str().starts_with(['a', 'b'])).count(), 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_what_is_no_longer_in_force_is_refused() {
    let fake = Fake::default();
    let now = fake.running().await.unwrap();
    let change = Change { running: now.running, revision: now.revision, by: Default::default() };
    assert!(fake.configure(change.clone()).await.is_ok());
    assert!(fake.configure(change).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_confirmed_is_held_for_its_session_and_taken_back() {
    let fake = Arc::new(Fake::default());
    let before = printed(&fake);
    let mut live = Live::new(&fake, 15, 0);
    live.until("lb1>").await;
    live.line("en", "lb1#").await;
    let text = live.line("show archive config rollback timer", "lb1#").await;
    assert!(text.ends_with("%No Rollback Confirmed Change pending\r\n"), "{text}");
    live.line("configure terminal revert timer 5", "lb1(config)#").await;
    live.line("server real pc9", "lb1(config-rs-pc9)#").await;
    live.line("ip-address 10.1.0.99", "lb1(config-rs-pc9)#").await;
    live.line("end", "lb1#").await;
    assert!(printed(&fake).contains("pc9"));
    let mut other = Live::new(&fake, 15, 0);
    other.until("lb1>").await;
    other.line("en", "lb1#").await;
    let text = other.line("conf t", "lb1#").await;
    assert!(text.contains("% admin from 203.0.113.7 holds the configuration for another 60 s"), "{text}");
    live.line("configure revert now", "lb1#").await;
    assert_eq!(printed(&fake), before);
    let text = live.line("configure confirm", "lb1#").await;
    assert!(text.contains("% no confirmation is waited for"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_says_where_the_configuration_is_changed() {
    let fake = Arc::new(Fake { elsewhere: Some("lb2 is the owner".into()), ..Fake::default() });
    let mut live = Live::new(&fake, 15, 0);
    live.until("lb1>").await;
    live.line("en", "lb1#").await;
    let text = live.line("conf t", "lb1#").await;
    assert!(text.contains("% lb2 is the owner\r\n% `configure terminal local` is for"), "{text}");
    live.line("conf t local", "lb1(config)#").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_configures_and_its_status_says_whether_all_was_right() {
    let fake = Arc::new(Fake::default());
    for (script, status, said) in [
        ("configure terminal\nserver real pc9\n ip-address 10.1.0.99\nend\n", 0, ""),
        ("configure terminal\nserver real pc9\n weight 0\nend\nshow privilege\n", 1, "Current privilege level is 15\n"),
    ] {
        let (output, mut screen) = duplex(1 << 20);
        let (keys, input) = mpsc::channel(4);
        let terminal = Terminal { interactive: false, rows: 0, columns: 0 };
        let admin = Who { level: 15, ..who(15) };
        let session = tokio::spawn(Session::new(fake.clone(), admin, input, output, terminal).run());
        keys.send(Input::Bytes(script.as_bytes().to_vec())).await.unwrap();
        drop(keys);
        assert_eq!(timeout(PATIENCE, session).await.unwrap().unwrap().unwrap(), status);
        let mut text = String::new();
        screen.read_to_string(&mut text).await.unwrap();
        assert!(text.ends_with(said), "{text}");
        assert_eq!(text.contains('%'), status != 0, "{text}");
    }
}
