use proptest::prelude::*;

use super::*;
use crate::config::Name;

fn pc2() -> Subject {
    Subject::Server(Name::new("pc2").unwrap())
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A machine that booted 1,000 s ago, and what is true on it.
struct Machine {
    admin: Admin,
    left: BTreeMap<Subject, u64>,
    drains: Drains,
    uptime: Duration,
    /// What the calendar says beyond the time since the boot.
    calendar: Duration,
}

impl Machine {
    fn new() -> Self {
        Self {
            admin: Admin::default(),
            left: BTreeMap::new(),
            drains: Drains::default(),
            uptime: Duration::from_secs(1_000),
            calendar: Duration::from_secs(1_795_000_000),
        }
    }

    fn calendar(&self) -> UnixTime {
        UnixTime(self.uptime + self.calendar)
    }

    fn now(&self) -> Moment {
        Moment(self.uptime)
    }

    fn drain(&mut self, left: u64, deadline: Option<Duration>, then: Then) {
        let order = Order {
            state: AdminState::Draining,
            since: self.calendar(),
            deadline: deadline.map(|deadline| self.calendar() + deadline),
            then,
            connections_at_begin: left,
        };
        self.admin.put(&pc2(), order);
        self.left.insert(pc2(), left);
    }

    fn look_after(&mut self, wait: Duration) -> Vec<Action> {
        self.uptime += wait;
        let (now, calendar) = (self.now(), self.calendar());
        self.drains.look(&View { admin: &self.admin, left: &self.left, now, calendar })
    }

    /// Looks as often as it wants to be looked at, for so long; what was asked for, and how long after the begin.
    fn watch(&mut self, time: Duration) -> Vec<(Duration, Action)> {
        let (begin, end) = (self.uptime, self.uptime + time);
        let mut asked: Vec<(Duration, Action)> =
            self.look_after(Duration::ZERO).into_iter().map(|action| (Duration::ZERO, action)).collect();
        while let Some(next) = self.drains.next().filter(|next| next.0 <= end) {
            let wait = next.since(self.now());
            for action in self.look_after(wait) {
                asked.push((self.uptime - begin, action));
            }
        }
        self.uptime = end;
        asked
    }

    fn progress(&self) -> Progress {
        self.drains.progress(&pc2(), self.now()).unwrap()
    }

    /// The daemon dies and is started again.
    fn restart(&mut self, after: Duration) {
        self.drains = Drains::default();
        self.uptime += after;
        self.admin = Admin::from_json(&self.admin.to_json().unwrap(), self.calendar()).unwrap();
    }
}

#[test]
fn a_drain_is_finished_when_nothing_has_been_left_for_a_while_and_says_so_once() {
    let mut machine = Machine::new();
    machine.drain(3, None, Then::Nothing);
    assert_eq!(machine.watch(ms(60_000)), []);
    machine.left.insert(pc2(), 0);
    assert_eq!(machine.watch(ms(60_000)), [(QUIET, Action::Finished(pc2()))]);
    let progress = machine.progress();
    assert_eq!((progress.left, progress.finished, progress.projection), (0, true, Projection::OVER));
}

#[test]
fn a_connection_that_comes_after_all_is_waited_for_too() {
    let mut machine = Machine::new();
    machine.drain(0, None, Then::Remove);
    assert_eq!(machine.look_after(Duration::ZERO), []);
    machine.left.insert(pc2(), 1);
    assert_eq!(machine.watch(ms(10_000)), []);
    machine.left.insert(pc2(), 0);
    let asked = machine.watch(ms(10_000));
    assert_eq!(asked, [(QUIET, Action::Finished(pc2())), (QUIET, Action::Remove(pc2()))]);
}

#[test]
fn at_the_deadline_what_is_left_is_reset_until_nothing_is() {
    let mut machine = Machine::new();
    machine.drain(3, Some(ms(5_500)), Then::Nothing);
    assert_eq!(machine.watch(ms(5_499)), []);
    assert!(!machine.progress().resetting);
    let reset = Action::Reset(pc2());
    let asked = machine.watch(ms(4_501));
    assert_eq!(asked, [(ms(1), reset.clone()), (ms(1) + RESET_AGAIN, reset.clone()), (ms(1) + RESET_AGAIN * 2, reset)]);
    assert!(machine.progress().resetting);
    machine.left.insert(pc2(), 0);
    assert!(machine.watch(ms(9_000)).iter().all(|(_, action)| *action == Action::Finished(pc2())));
    assert!(machine.progress().finished && !machine.progress().resetting);
}

#[test]
fn a_refused_removal_is_asked_for_again_and_one_that_is_not_wanted_any_more_is_not() {
    let mut machine = Machine::new();
    machine.drain(0, None, Then::Remove);
    let asked = machine.watch(REMOVE_AGAIN + ms(5_000));
    let remove = |at| (at, Action::Remove(pc2()));
    assert_eq!(asked, [(QUIET, Action::Finished(pc2())), remove(QUIET), remove(QUIET + REMOVE_AGAIN)]);
    machine.drain(0, None, Then::Nothing);
    assert_eq!(machine.watch(ms(100_000)), []);
}

#[test]
fn a_drain_that_is_cancelled_asks_for_nothing_more() {
    let mut machine = Machine::new();
    machine.drain(3, Some(ms(5_000)), Then::Remove);
    machine.watch(ms(2_000));
    machine.admin.enable(&pc2(), machine.now());
    assert_eq!(machine.watch(ms(60_000)), []);
    assert_eq!(machine.drains.next(), None, "nor has it to be looked at");
    // The next one has its own begin.
    machine.drain(2, Some(ms(5_000)), Then::Nothing);
    assert_eq!(machine.watch(ms(4_999)), []);
}

#[test]
fn a_drain_ordered_between_two_looks_is_not_taken_for_the_one_before() {
    let mut machine = Machine::new();
    machine.drain(3, Some(ms(5_000)), Then::Nothing);
    assert!(machine.watch(ms(5_000)).contains(&(ms(5_000), Action::Reset(pc2()))));
    machine.admin.enable(&pc2(), machine.now());
    machine.uptime += ms(10);
    machine.drain(9, None, Then::Nothing);
    assert_eq!(machine.watch(ms(60_000)), []);
}

#[test]
fn a_deadline_that_passes_while_the_daemon_is_dead_is_acted_upon_at_the_start() {
    let mut machine = Machine::new();
    machine.drain(3, Some(ms(5_000)), Then::Remove);
    machine.watch(ms(2_000));
    machine.restart(ms(60_000));
    assert_eq!(machine.look_after(Duration::ZERO), [Action::Reset(pc2())]);
    machine.left.insert(pc2(), 0);
    machine.restart(ms(100));
    assert_eq!(machine.watch(ms(5_000)), [(QUIET, Action::Finished(pc2())), (QUIET, Action::Remove(pc2()))]);
}

#[test]
fn a_deadline_is_kept_by_a_clock_that_nobody_sets_and_never_grows_by_a_wrong_one() {
    let mut machine = Machine::new();
    machine.drain(3, Some(ms(5_000)), Then::Nothing);
    machine.watch(ms(1_000));
    for jump in [Duration::from_secs(1_000_000), Duration::from_secs(1_794_000_000)] {
        machine.calendar = jump;
        assert_eq!(machine.watch(ms(1_999)), [], "the calendar has jumped to {jump:?}");
    }
    assert_eq!(machine.watch(ms(2)), [(ms(2), Action::Reset(pc2()))]);
    // A box without a clock that runs in its power supply begins in 1970.
    machine.calendar = Duration::ZERO;
    machine.restart(Duration::ZERO);
    assert_eq!(machine.watch(ms(4_999)), []);
    assert_eq!(machine.watch(ms(1)), [(ms(1), Action::Reset(pc2()))]);
}

#[test]
fn a_new_deadline_holds_from_when_it_is_ordered() {
    let mut machine = Machine::new();
    machine.drain(3, None, Then::Nothing);
    machine.watch(ms(60_000));
    machine.drain(3, Some(ms(1_000)), Then::Nothing);
    assert_eq!(machine.watch(ms(1_000)), [(ms(1_000), Action::Reset(pc2()))]);
    machine.drain(3, Some(ms(9_000)), Then::Nothing);
    assert_eq!(machine.watch(ms(8_999)), [], "and a later one takes the earlier back");
}

#[test]
fn the_projection_is_never_later_than_the_deadline() {
    let mut machine = Machine::new();
    machine.drain(1_000, Some(ms(300_000)), Then::Nothing);
    machine.watch(ms(60_000));
    let to_deadline = Some(ms(240_000));
    let projection = machine.progress().projection;
    assert_eq!((projection.likely, projection.latest), (to_deadline, to_deadline), "nothing moves: {projection:?}");
}

#[test]
fn a_restarted_daemon_projects_from_the_begin_of_the_drain() {
    let mut machine = Machine::new();
    machine.drain(1_000, None, Then::Nothing);
    machine.watch(ms(1_000));
    machine.restart(ms(599_000));
    machine.left.insert(pc2(), 500);
    machine.watch(ms(1_000));
    // Half of them have gone in 600 s: the last of 500 is expected after about 9.5 further half-lives.
    let likely = machine.progress().projection.likely.unwrap().as_secs();
    assert!((5_000..6_500).contains(&likely), "{likely}");
}

/// What may happen to a drain, with how long it takes until it does.
#[derive(Clone, Debug)]
enum Event {
    Left(u64),
    Drain(Option<u16>, bool),
    Enable,
    Restart,
    Calendar(u32),
}

fn event() -> impl Strategy<Value = (u16, Event)> {
    let event = prop_oneof![
        4 => (0..4_u64).prop_map(Event::Left),
        2 => (prop::option::of(0..30_000_u16), any::<bool>()).prop_map(|(deadline, remove)| Event::Drain(deadline, remove)),
        1 => Just(Event::Enable),
        1 => Just(Event::Restart),
        1 => any::<u32>().prop_map(Event::Calendar),
    ];
    (0..20_000_u16, event)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_is_reset_before_its_deadline_and_nothing_removed_that_has_connections(
        events in prop::collection::vec(event(), 1..40)
    ) {
        let mut machine = Machine::new();
        for (wait, event) in events {
            match event {
                Event::Left(left) => _ = machine.left.insert(pc2(), left),
                Event::Drain(deadline, remove) => {
                    let left = machine.left.get(&pc2()).copied().unwrap_or(0);
                    let then = if remove { Then::Remove } else { Then::Nothing };
                    machine.drain(left, deadline.map(|d| ms(d.into())), then);
                }
                Event::Enable => _ = machine.admin.enable(&pc2(), machine.now()),
                Event::Restart => machine.restart(Duration::ZERO),
                Event::Calendar(seconds) => machine.calendar = Duration::from_secs(seconds.into()),
            }
            let asked = machine.watch(ms(wait.into()));
            let left = machine.left.get(&pc2()).copied().unwrap_or(0);
            let order = machine.admin.order(&pc2());
            for (_, action) in asked {
                let order = order.expect("an action belongs to an order");
                prop_assert_eq!(order.state, AdminState::Draining);
                match action {
                    Action::Reset(_) => prop_assert!(left > 0 && order.deadline.is_some()),
                    Action::Finished(_) => prop_assert_eq!(left, 0),
                    Action::Remove(_) => prop_assert!(left == 0 && order.then == Then::Remove),
                }
            }
            if let Some(progress) = machine.drains.progress(&pc2(), machine.now()) {
                let Projection { earliest, likely, latest } = progress.projection;
                prop_assert!(earliest <= likely || likely.is_none());
                prop_assert!(likely <= latest || latest.is_none());
            }
            prop_assert!(machine.drains.drains.values().all(|drain| drain.samples.len() <= SAMPLES_MAX));
        }
    }
}

#[test]
fn a_drain_of_weeks_keeps_few_samples_and_all_of_its_time() {
    let mut machine = Machine::new();
    machine.drain(1_000_000, None, Then::Nothing);
    for hour in 0..500 {
        machine.left.insert(pc2(), 1_000_000 - hour);
        machine.watch(Duration::from_secs(3_600));
    }
    let samples = &machine.drains.drains[&pc2()].samples;
    assert!((SAMPLES_MAX / 2..=SAMPLES_MAX).contains(&samples.len()));
    assert!(
        samples[0].at < Duration::from_secs(3_600) && samples.last().unwrap().at > Duration::from_secs(480 * 3_600)
    );
}
