//! What the simulation does not show: a box alone, fencing, strangers, words.

use super::*;
use crate::pair::heartbeat::{BoxId, Incarnation, LeaseLeft};
use crate::pair::timers::Timers;

const ME: BoxId = BoxId(1);
const PEER: BoxId = BoxId(2);

fn ms(ms: u64) -> Instant {
    Instant(0) + Span::from_millis(1_000_000 + ms)
}

/// The machine with a data plane that does what it is told.
struct Bench {
    election: Election,
    lease: Lease,
    now: Instant,
    actions: Vec<Action>,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new(ME, PEER, Incarnation { boot: 1, start: 1 }, Timers::DEFAULT);
        change(&mut settings);
        let inputs = Inputs { synced: true, drained: true, ready: true, ..Inputs::default() };
        let election = Election::new(settings, inputs, ms(0), Lease::None, Span::ZERO, Instant::default());
        Self { election, lease: Lease::None, now: ms(0), actions: Vec::new() }
    }

    fn event(&mut self, event: Event<'_>) {
        let first = self.actions.len();
        self.election.handle(self.now, self.lease, event, &mut self.actions);
        for action in self.actions.iter().skip(first) {
            match action {
                Action::SetLease(end) | Action::Renew(end) => self.lease = Lease::Until(*end),
                Action::DropLease => self.lease = Lease::None,
                Action::MakeEndless if self.lease.owns(self.now) => self.lease = Lease::Endless,
                _ => {}
            }
        }
    }

    /// Ticks at every deadline until then.
    fn run_until(&mut self, end: Instant) {
        while self.election.next_deadline() <= end {
            let deadline = self.election.next_deadline();
            assert!(deadline > self.now || self.now == ms(0), "a deadline is in the future");
            self.now = deadline;
            self.event(Event::Tick);
        }
        self.now = end;
    }

    fn owns(&self) -> bool {
        self.lease.owns(self.now)
    }

    fn alarms(&self) -> Vec<Alarm> {
        let alarm = |action: &Action| if let Action::Alarm(alarm) = action { Some(*alarm) } else { None };
        self.actions.iter().filter_map(alarm).collect()
    }

    fn hear(&mut self, heartbeat: Heartbeat) {
        self.event(Event::Heartbeat { path: PathId(0), heartbeat: &heartbeat });
    }
}

fn heartbeat(stamp_ms: u64) -> Heartbeat {
    Heartbeat {
        incarnation: Incarnation { boot: 1, start: 1 },
        stamp: ms(stamp_ms).stamp(),
        state: State::Standby,
        ready: true,
        ..Heartbeat::default()
    }
}

#[test]
fn a_box_without_a_pair_owns_without_end() {
    let mut bench = Bench::new(|settings| settings.peer = None);
    bench.event(Event::Tick);
    assert_eq!(bench.lease, Lease::Endless);
    assert!(bench.actions.contains(&Action::Announce));
    assert!(!bench.actions.iter().any(|action| matches!(action, Action::Send(_) | Action::Ask { .. })));
    bench.event(Event::Command(Command::Maintenance(true)));
    assert!(!bench.owns());
    bench.event(Event::Command(Command::Maintenance(false)));
    assert_eq!(bench.lease, Lease::Endless);
}

#[test]
fn a_takeover_from_a_silent_peer_waits_for_the_fence_command() {
    let mut bench = Bench::new(|settings| settings.fence = Some(Span::from_secs(5)));
    bench.run_until(ms(4_000));
    assert!(bench.actions.contains(&Action::Fence));
    assert!(!bench.owns(), "the power bar is still at work");
    bench.event(Event::Fenced { ok: true });
    assert!(bench.owns());
    assert!(!bench.alarms().contains(&Alarm::FenceFailed));
}

#[test]
fn a_fence_command_that_does_not_end_delays_and_does_not_prevent() {
    let mut bench = Bench::new(|settings| settings.fence = Some(Span::from_secs(5)));
    bench.run_until(ms(7_000));
    assert!(!bench.owns());
    bench.run_until(ms(8_000));
    assert!(bench.owns());
    assert!(bench.alarms().contains(&Alarm::FenceFailed));
}

#[test]
fn a_joiner_waits_out_what_it_may_have_promised_before_it_booted() {
    let mut bench = Bench::new(|_| {});
    bench.run_until(ms(2_499));
    assert!(!bench.owns());
    bench.run_until(ms(2_501));
    assert!(bench.owns(), "{:?}", bench.election.status());
}

#[test]
fn the_answer_of_a_stranger_is_an_alarm_and_no_answer() {
    let mut bench = Bench::new(|_| {});
    bench.run_until(ms(2_000));
    for _ in 0..3 {
        let nonce = bench.now.0;
        let (from, lease) = (BoxId(9), LeaseLeft::Endless);
        bench.event(Event::Answer { path: PathId(1), nonce, from, lease, age: Span::ZERO });
    }
    assert!(bench.alarms().contains(&Alarm::Stranger(BoxId(9))));
    bench.run_until(ms(2_501));
    assert!(bench.owns(), "it is not the peer's data plane that answered");
}

#[test]
fn a_heartbeat_that_was_overtaken_changes_nothing() {
    let mut bench = Bench::new(|_| {});
    bench.event(Event::Tick);
    bench.hear(Heartbeat { owns: true, state: State::Active, ..heartbeat(20) });
    let promised = bench.election.status().promised;
    assert_eq!(promised, Span::from_millis(250));
    bench.now = bench.now + Span::from_millis(5);
    bench.hear(heartbeat(10));
    assert_eq!(bench.election.status().promised, Span::from_millis(245), "an older word releases no promise");
    assert_eq!(bench.election.counters().overtaken, 1);
    bench.hear(heartbeat(30));
    assert_eq!(bench.election.status().promised, Span::ZERO, "a newer one does");
}

#[test]
fn an_adopted_promise_is_released_only_by_an_answer_to_this_life() {
    let settings = Settings::new(ME, PEER, Incarnation { boot: 1, start: 2 }, Timers::DEFAULT);
    let inputs = Inputs { synced: true, ready: true, ..Inputs::default() };
    let election = Election::new(settings, inputs, ms(0), Lease::None, Span::ZERO, ms(200));
    let mut bench = Bench { election, lease: Lease::None, now: ms(0), actions: Vec::new() };
    bench.event(Event::Tick);
    bench.hear(heartbeat(10));
    assert_eq!(bench.election.status().promised, Span::from_millis(200));
    let echo = Some(Echo { incarnation: Incarnation { boot: 1, start: 2 }, stamp: ms(0).stamp() });
    bench.hear(Heartbeat { echo, ..heartbeat(20) });
    assert_eq!(bench.election.status().promised, Span::ZERO);
}

#[test]
fn heartbeats_that_lay_in_a_serial_line_for_a_dead_interval_are_stale() {
    let mut bench = Bench::new(|_| {});
    bench.event(Event::Tick);
    bench.hear(heartbeat(0));
    bench.now = ms(1_000);
    bench.event(Event::Resumed);
    for stamp in [50, 100, 700, 754] {
        bench.hear(heartbeat(stamp));
    }
    assert_eq!(bench.election.counters().stale, 4, "246 ms and more late, and they echo nothing");
    bench.hear(heartbeat(760));
    assert_eq!(bench.election.counters().stale, 4);
}

#[test]
fn every_alarm_has_words() {
    let alarms = [
        Alarm::PeerSilent,
        Alarm::ClaimedUnheard,
        Alarm::TwoOwners,
        Alarm::Orphan,
        Alarm::HeartbeatsFiltered,
        Alarm::Stranger(BoxId(0x0200_5e00_0001)),
        Alarm::HandOverImpossible,
        Alarm::RestartRefused,
        Alarm::PeerDeaf,
        Alarm::Paused(Span::from_millis(1_500)),
        Alarm::FenceFailed,
        Alarm::ConfigDiffers,
    ];
    let mut words: Vec<String> = alarms.iter().map(|alarm| alarm.words()).collect();
    assert!(words.contains(&"this daemon did not run for 1500 ms".to_owned()));
    assert!(words.contains(&"the machine 02005e000001 answers for the virtual IPs".to_owned()));
    words.sort();
    words.dedup();
    assert_eq!(words.len(), alarms.len());
}

#[test]
fn a_hand_over_to_a_peer_that_is_not_there_is_refused_with_an_alarm() {
    let mut bench = Bench::new(|_| {});
    bench.run_until(ms(2_600));
    assert!(bench.owns());
    bench.event(Event::Command(Command::HandOver));
    assert!(bench.alarms().contains(&Alarm::HandOverImpossible));
    assert!(bench.owns());
    bench.event(Event::Command(Command::Restart));
    bench.run_until(ms(3_150));
    assert!(bench.alarms().contains(&Alarm::RestartRefused), "its lease is not endless yet");
    bench.run_until(ms(5_000));
    assert_eq!(bench.lease, Lease::Endless);
    bench.event(Event::Command(Command::Restart));
    assert!(bench.actions.contains(&Action::Exit), "an endless lease outlives the daemon");
}

#[test]
fn a_standby_with_another_configuration_than_the_owner_is_not_ready_and_takes_over_all_the_same() {
    let mut bench = Bench::new(|_| {});
    for (revision, unready) in [(9, Some("its configuration is not the owner's")), (0, None)] {
        bench.now = bench.now + Span::from_millis(50);
        let stamp = bench.now.since(ms(0)).0 / 1_000_000;
        bench.hear(Heartbeat { owns: true, state: State::Active, config_revision: revision, ..heartbeat(stamp) });
        assert_eq!(bench.election.status().unready, unready);
        let sent = bench
            .actions
            .iter()
            .rev()
            .find_map(|action| if let Action::Send(sent) = action { Some(*sent) } else { None });
        assert_eq!(sent.map(|sent| sent.ready), Some(unready.is_none()), "the owner is told");
    }
    bench.now = bench.now + Span::from_millis(50);
    bench.hear(Heartbeat { owns: true, state: State::Active, config_revision: 9, ..heartbeat(150) });
    bench.run_until(ms(4_000));
    assert!(bench.owns());
    assert_eq!(bench.election.status().unready, None);
}
