use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sched::{CloneFlags, unshare};

use super::*;

/// Longer than anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

fn run(line: &str) {
    let status = Command::new("sh").args(["-ec", line]).status().unwrap();
    assert!(status.success(), "{line}");
}

/// Asks in a namespace whose cable leads to another one, where 192.0.2.9 and 2001:db8::9 are.
fn ask(address: &str) -> Option<Verdict> {
    let address: IpAddr = address.parse().unwrap();
    unshare(CloneFlags::CLONE_NEWNET).expect("this test needs root");
    let (tell, told) = channel();
    let (go, gone) = channel();
    let (ready_in, ready) = channel();
    let far = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        tell.send(nix::unistd::gettid()).unwrap();
        gone.recv().unwrap();
        run("ip link set far up; ip address add 192.0.2.9/24 dev far; ip -6 address add 2001:db8::9/64 dev far nodad");
        ready_in.send(()).unwrap();
        _ = gone.recv();
    });
    run(&format!(
        "ip link set lo up; ip link add near type veth peer name far netns {}; ip link set near up; \
         ip address add 192.0.2.1/24 dev near; ip -6 address add 2001:db8::1/64 dev near nodad",
        told.recv_timeout(PATIENCE).unwrap()
    ));
    go.send(()).unwrap();
    ready.recv_timeout(PATIENCE).unwrap();
    let mut neighbour = Neighbour::new(address).unwrap().unwrap();
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut SourceFd(&neighbour.fd()), Token(1), Interest::READABLE).unwrap();
    let until = Instant::now() + Duration::from_secs(2);
    let verdict = loop {
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
        if let Step::Over(ended) =
            neighbour.ready(Ready { readable: true, ..Ready::default() }, &mut Scratch::default())
        {
            break Some(ended.verdict);
        }
        if Instant::now() >= until {
            break None;
        }
        // A link that has just come up may lose the first.
        neighbour.again();
    };
    drop(go);
    far.join().unwrap();
    verdict
}

#[test]
fn who_has_an_address_answers_and_nobody_does_for_one_that_is_not_there() {
    for address in ["192.0.2.9", "2001:db8::9"] {
        let Some(Verdict::Success(words)) = ask(address) else { panic!("no answer for {address}") };
        assert!(words.starts_with("answered by "), "{words}");
    }
    assert_eq!(ask("192.0.2.10"), None);
    assert_eq!(ask("2001:db8::10"), None);
}

#[test]
fn an_address_that_no_interface_with_a_mac_leads_to_is_told() {
    let Err(failure) = Neighbour::new([127, 0, 0, 1].into()).unwrap() else { panic!("it was asked") };
    assert_eq!(failure.kind, FailureKind::Local);
}
