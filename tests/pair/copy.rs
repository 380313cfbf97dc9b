//! The configuration that both boxes have: how a change comes to the other one.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lbd::config::common::common;
use lbd::config::{Config, parse};
use lbd::lab::customer::{self, Visit};
use lbd::lab::mail::CLIENT;
use lbd::lab::pair::BOXES;
use lbd::lab::servers::Kind;
use nix::sys::signal::Signal;

use super::faults::cut;
use super::stage::Stage;

impl Stage {
    fn file(&self, index: usize) -> String {
        std::fs::read_to_string(self.site.config_file(index)).unwrap()
    }

    fn config(&self, index: usize) -> Config {
        parse("lb.yaml", &self.file(index)).unwrap().config
    }

    /// Replaces something in a box's file.
    fn edit(&self, index: usize, from: &str, to: &str) {
        let text = self.file(index);
        assert!(text.contains(from), "{text}");
        std::fs::write(self.site.config_file(index), text.replacen(from, to, 1)).unwrap();
    }

    fn reload(&self, index: usize) -> anyhow::Result<()> {
        self.block_on(self.site.api(index).unwrap().reload())
    }

    fn choose(&self, index: usize, take: &str) -> anyhow::Result<()> {
        self.block_on(self.site.api(index).unwrap().choose_config(take))
    }

    /// Both files say the same of what both boxes have, and both daemons say so.
    fn same(&self) -> bool {
        common(&self.config(0)) == common(&self.config(1))
            && [0, 1].iter().all(|index| self.says(*index, "/config/standing") == "same")
    }

    /// A customer of a port is served.
    fn serves(&self, target: &str) -> bool {
        let client = self.site.site.host(CLIENT).unwrap().clone();
        let visit = Visit::new(Kind::Imap, target.parse().unwrap());
        let tally = self.block_on(client.run(move || customer::visit(visit, |_| {}))).unwrap();
        tally.served_count() == 1
    }
}

/// A weight for pc1.
const BEFORE: &str = "pc1: {address";
fn weight(weight: u16) -> String {
    format!("pc1: {{weight: {weight}, address")
}

#[test]
fn a_change_on_the_owner_reaches_the_standby_and_survives_a_takeover() {
    let mut stage = Stage::new();
    let owner = stage.settled();
    let standby = 1 - owner;
    let before = stage.file(standby);
    let pool = "  imap-1143:\n    members: [pc2, pc4]\n    port: 143\n    slow-start: 0s\n    \
                check: {type: imap, interval: 200ms, timeout: 150ms, rise: 2, fall: 3}\nvirtual-servers:\n";
    stage.edit(owner, "virtual-servers:\n", pool);
    let service = "    services:\n      imap-1143: {protocol: tcp, port: 1143, pool: imap-1143, mode: nat}\n";
    let text = stage.file(owner);
    let (head, tail) = text.rsplit_once("    services:\n").unwrap();
    std::fs::write(stage.site.config_file(owner), format!("{head}{service}{tail}")).unwrap();
    let start = Instant::now();
    stage.reload(owner).unwrap();
    stage.until("the change comes to the standby", Stage::same);
    let copied = start.elapsed();
    assert_eq!(stage.settled(), owner);
    println!("changed on the owner: the standby has it after {copied:?}, and is ready after {:?}", start.elapsed());
    assert!(stage.serves("192.0.2.110:1143"));
    let (mine, theirs) = (stage.config(standby), stage.config(owner));
    assert_eq!(
        (mine.interfaces.mac, &mine.pair),
        (parse("", &before).unwrap().config.interfaces.mac, &parse("", &before).unwrap().config.pair)
    );
    assert_ne!((mine.hostname, mine.pair), (theirs.hostname, theirs.pair), "what is of one box stays there");
    let backup = stage.site.config_file(standby).with_extension("yaml.before-copy");
    assert_eq!(std::fs::read_to_string(backup).unwrap(), before);
    assert!(stage.file(standby).contains("  mac: \"02:00:00:00:01:0"), "the box's own text is left as it was");

    stage.kill(owner);
    stage.until_owns(standby);
    assert!(stage.serves("192.0.2.110:1143"), "{}", stage.log(standby));
    stage.start(owner);
    assert_eq!(stage.settled(), standby);
    assert!(stage.same());
}

#[test]
fn what_both_boxes_have_is_not_changed_on_the_standby_but_what_is_of_it_alone_is() {
    let stage = Stage::new();
    let owner = stage.settled();
    let standby = 1 - owner;
    let before = stage.file(standby);
    stage.edit(standby, BEFORE, &weight(7));
    let refusal = stage.reload(standby).unwrap_err().to_string();
    assert!(refusal.contains("is changed on the owner"), "{refusal}");
    assert_eq!(stage.settled(), owner, "what is in force is the same as before");
    // A change on the owner does not sweep that away unseen.
    stage.edit(owner, BEFORE, &weight(9));
    stage.reload(owner).unwrap();
    stage.until("both say what keeps the change from the standby", |stage| {
        let says =
            |index| stage.says(index, "/config/trouble").as_str().is_some_and(|words| words.contains("not in force"));
        says(standby) && says(owner) && stage.says(standby, "/ready") == false
    });
    std::fs::write(stage.site.config_file(standby), before.replace("hostname: lb", "hostname: box")).unwrap();
    stage.reload(standby).unwrap();
    assert_eq!(stage.settled(), owner);
    assert!(stage.same());
    assert_eq!(stage.config(standby).hostname.to_string(), format!("box{}", standby + 1));
}

#[test]
fn what_does_not_fit_on_the_standby_is_refused_there_and_shown_on_the_owner() {
    let stage = Stage::new();
    let owner = stage.settled();
    let standby = 1 - owner;
    let before = stage.file(standby);
    // The standby's own address, of which the owner knows nothing.
    let servers = format!("servers:\n  twin: {{address: 10.1.0.{}}}\n", standby + 2);
    stage.edit(owner, "servers:\n", &servers);
    stage.reload(owner).unwrap();
    stage.until("both say why", |stage| {
        let says =
            |index| stage.says(index, "/config/trouble").as_str().is_some_and(|words| words.contains("belongs to"));
        says(standby) && says(owner) && stage.says(standby, "/ready") == false
    });
    assert_eq!(stage.file(standby), before);
    stage.edit(owner, &servers, "servers:\n");
    stage.reload(owner).unwrap();
    assert_eq!(stage.settled(), owner);
    stage.until("both have the same again", Stage::same);
}

#[test]
fn a_server_that_is_removed_on_the_owner_is_gone_from_both_files() {
    let stage = Stage::new();
    let owner = stage.settled();
    let standby = 1 - owner;
    let refusal = stage.block_on(stage.site.api(standby).unwrap().remove("pc4")).unwrap_err().to_string();
    assert!(refusal.contains("this box is the standby"), "{refusal}");
    stage.block_on(stage.site.api(owner).unwrap().drain("pc4", "1s", "remove")).unwrap();
    stage.until("the end of the drain is in both files", |stage| {
        stage.same() && stage.config(standby).servers.len() == 3
    });
    assert_eq!(stage.says(standby, "/config/copied"), 1, "it came from the owner");
    assert_eq!(stage.settled(), owner);
}

#[test]
fn an_owner_that_is_restarted_with_another_file_goes_on_owning_and_the_change_is_copied() {
    let mut stage = Stage::new();
    let owner = stage.settled();
    stage.edit(owner, BEFORE, &weight(7));
    stage.signal(owner, Signal::SIGTERM);
    while stage.site.balancer(owner).unwrap().process().ended().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    stage.start(owner);
    stage.until("the change comes to the standby", |stage| stage.same() && stage.file(1 - owner).contains("weight: 7"));
    assert_eq!(stage.settled(), owner);
}

#[test]
fn a_box_that_was_away_takes_what_was_changed_meanwhile_even_if_it_owns() {
    let mut stage = Stage::new();
    let owner = stage.settled();
    stage.kill(1 - owner);
    stage.edit(owner, BEFORE, &weight(7));
    stage.reload(owner).unwrap();
    stage.start(1 - owner);
    assert_eq!(stage.settled(), owner);
    assert!(stage.same());
    assert!(stage.file(1 - owner).contains("weight: 7"));

    // The other one is changed last, and is off when the stale one comes back alone.
    stage.kill(owner);
    stage.until_owns(1 - owner);
    stage.edit(1 - owner, "weight: 7", "weight: 8");
    stage.reload(1 - owner).unwrap();
    stage.kill(1 - owner);
    stage.start(owner);
    stage.until_owns(owner);
    stage.start(1 - owner);
    stage.until("the owner takes what is newer", |stage| stage.same() && stage.file(owner).contains("weight: 8"));
    stage.settled();
}

#[test]
fn a_blank_box_is_filled_by_its_peer_then_takes_over_and_serves() {
    let mut stage = Stage::new();
    let owner = stage.settled();
    let blank = 1 - owner;
    stage.site.replace_box(blank).unwrap();
    assert!(stage.config(blank).servers.is_empty());
    // Those behind it are off with it.
    let behind = [["pc1", "pc2"], ["pc3", "pc4"]][blank];
    stage.until("the owner sends nobody there", |stage| {
        let members = stage.block_on(stage.site.api(owner).unwrap().members()).unwrap();
        members.iter().all(|member| member.scheduled != behind.contains(&member.server.as_str()))
    });
    let held = stage.hold(50);
    stage.site.plug_in(blank).unwrap();
    stage.start(blank);
    assert_eq!(stage.settled(), owner);
    assert!(stage.same());
    assert_eq!(common(&stage.config(blank)).interfaces.inside.len(), 2);
    let (held, before) = stage.check(held);
    assert_eq!(before.failed_count(), 0);
    stage.settled();
    stage.kill(owner);
    stage.until_owns(blank);
    let (_, after) = stage.check(held);
    assert_eq!((after.served_count(), after.failed_count()), (200, 0), "{after:?}\n{}", stage.log(blank));
    assert!(stage.serves("192.0.2.110:143"));

    // Nor does it win when it is the one that owns.
    stage.site.replace_box(blank).unwrap();
    stage.site.plug_in(blank).unwrap();
    stage.start(blank);
    stage.until_owns(blank);
    stage.start(owner);
    stage.settled();
    assert!(stage.same());
    assert!(!stage.config(owner).servers.is_empty());
}

#[test]
fn configurations_that_were_changed_apart_are_told_and_an_operator_says_which_one_counts() {
    let stage = Stage::new();
    let owner = stage.settled();
    cut(&stage, "down");
    stage.until_owns(1 - owner);
    stage.until_owns(owner);
    // Neither hears the other any more.
    stage.until("the boxes are apart", |stage| {
        [0, 1].iter().all(|index| stage.says(*index, "/config/standing") == "unheard")
    });
    for index in [0, 1] {
        stage.edit(index, BEFORE, &weight(index as u16 + 7));
        stage.reload(index).unwrap();
    }
    cut(&stage, "up");
    stage.until("the conflict is told, and the standby is not ready", |stage| {
        let owners: Vec<usize> = (0..2).filter(|index| stage.says(*index, "/owns") == true).collect();
        let told = |index| {
            stage.says(index, "/config/standing") == "conflict"
                && stage
                    .says(index, "/config/trouble")
                    .as_str()
                    .is_some_and(|words| words.contains("/api/v1/pair/config"))
        };
        let [owner] = owners[..] else { return false };
        let unready = stage.says(1 - owner, "/unready");
        told(0)
            && told(1)
            && stage.says(1 - owner, "/ready") == false
            && unready == "its configuration is not the owner's"
    });
    for index in [0, 1] {
        assert!(stage.file(index).contains(&weight(index as u16 + 7)), "nothing is overwritten");
    }
    stage.choose(1, "own").unwrap();
    stage.until("the choice is in force on both", Stage::same);
    assert!(stage.file(0).contains("weight: 8"), "{}", stage.file(0));
    stage.until("the standby is ready again", |stage| [0, 1].iter().all(|index| stage.says(*index, "/ready") == true));
    let refusal = stage.choose(0, "peer").unwrap_err().to_string();
    assert!(refusal.contains("both boxes have the same"), "{refusal}");
}

/// A script at the console of a box; what it says.
fn typed(stage: &Stage, index: usize, script: &str) -> (bool, String) {
    let run_dir = stage.site.site.dir().join(format!("{}-run", BOXES[index]));
    let mut command = Command::new(env!("CARGO_BIN_EXE_lbd"));
    command.arg("console").arg("--run-dir").arg(run_dir);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn what_is_typed_on_the_owner_reaches_the_standby_also_if_it_is_not_saved() {
    let mut stage = Stage::new();
    let owner = stage.settled();
    let standby = 1 - owner;
    let (ok, said) = typed(&stage, standby, "configure terminal\n");
    assert!(!ok && said.contains("% this box is the standby; the owner of the pair"), "{said}");
    let (ok, said) =
        typed(&stage, standby, "configure terminal local\nserver real pc1\n weight 7\nhostname box9\nend\n");
    assert!(!ok && said.contains("what both boxes have is changed on the owner"), "{said}");
    assert!(typed(&stage, standby, "show running-config\n").1.contains("\nhostname box9\n"), "of this box alone");

    let before = stage.file(owner);
    let (ok, said) = typed(&stage, owner, "configure terminal\nserver real pc1\n weight 7\nend\n");
    assert!(ok, "{said}");
    stage.until("the change comes to the standby", |stage| stage.file(standby).contains("weight: 7"));
    assert_eq!(stage.file(owner), before, "nobody has saved it there");
    assert!(!stage.file(standby).contains("box9"), "nor what is of the standby alone");
    assert_eq!(stage.settled(), owner);

    // The owner comes back with what was saved, which is older: it takes what the other one has.
    stage.kill(owner);
    stage.until_owns(standby);
    stage.start(owner);
    assert_eq!(stage.settled(), standby);
    stage.until("the box has it back", |stage| stage.same() && stage.file(owner).contains("weight: 7"));
}
