//! What can be done to the world: faults, orders, and their end.

use super::boxes::{Clock, Machine};
use super::network::PATHS;
use super::world::{MS, World};
use crate::pair::election::{Command, Event};
use crate::pair::time::Instant;

#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// One direction of one path.
    Cut {
        from: usize,
        path: usize,
        cut: bool,
    },
    CutAllFrom {
        from: usize,
        cut: bool,
    },
    CutAll(bool),
    Filter(bool),
    Loss {
        percent: u64,
    },
    LossFrom {
        from: usize,
        percent: u64,
    },
    Jitter {
        ms: u64,
    },
    Delay {
        from: usize,
        path: usize,
        ms: u64,
    },
    Duplicate {
        percent: u64,
    },
    /// A path delivers nothing for a while, then all of it at once.
    Hold {
        from: usize,
        path: usize,
        ms: u64,
    },
    Stop(usize),
    Continue(usize),
    Freeze(usize),
    Thaw(usize),
    /// A virtual machine goes on whose clock stood still meanwhile.
    ThawWithoutClock(usize),
    Kill(usize),
    Start(usize),
    PowerOff(usize),
    PowerOn(usize),
    LateWrites {
        of: usize,
        ms: u64,
    },
    /// The thread stalls for so long between deciding on its next endless lease and writing it.
    LateEndless {
        of: usize,
        ms: u64,
    },
    TimersFirst {
        of: usize,
        first: bool,
    },
    HandOver(usize),
    Restart {
        of: usize,
        ms: u64,
    },
    Maintenance {
        of: usize,
        on: bool,
    },
    Fault {
        of: usize,
        on: bool,
    },
    Synced {
        of: usize,
        synced: bool,
    },
    Pools {
        of: usize,
        healthy: u16,
    },
    /// Somebody sets the calendar's clock. Nothing in the pair reads it.
    WallClock,
    /// All faults end.
    Heal,
}

impl World {
    fn lines_from(&mut self, from: usize, change: impl Fn(&mut super::network::Line)) {
        for path in 0..PATHS {
            change(&mut self.lines[from][path]);
        }
    }

    fn all_lines(&mut self, change: impl Fn(&mut super::network::Line)) {
        self.lines_from(0, &change);
        self.lines_from(1, &change);
    }

    fn inputs(&mut self, of: usize) {
        if self.boxes[of].runs() {
            let inputs = self.boxes[of].inputs;
            self.handle(of, Event::Inputs(inputs));
        }
    }

    pub fn step(&mut self, step: Step) {
        if self.tell {
            println!("{:12.3} ---- {step:?}", self.now as f64 / 1e6);
        }
        match step {
            Step::Cut { from, path, cut } => self.lines[from][path].cut = cut,
            Step::CutAllFrom { from, cut } => self.lines_from(from, |line| line.cut = cut),
            Step::CutAll(cut) => self.all_lines(|line| line.cut = cut),
            Step::Filter(filtered) => self.all_lines(|line| line.filtered = filtered),
            Step::Loss { percent } => self.all_lines(|line| line.loss_percent = percent),
            Step::LossFrom { from, percent } => self.lines_from(from, |line| line.loss_percent = percent),
            Step::Jitter { ms } => self.all_lines(|line| line.jitter = ms * MS),
            Step::Delay { from, path, ms } => self.lines[from][path].delay = ms * MS,
            Step::Duplicate { percent } => self.all_lines(|line| line.duplicate_percent = percent),
            Step::Hold { from, path, ms } => self.lines[from][path].held_until = self.now + ms * MS,
            Step::Stop(of) => {
                self.pause(of);
                self.boxes[of].stopped = self.boxes[of].daemon.is_some();
            }
            Step::Continue(of) => {
                if std::mem::take(&mut self.boxes[of].stopped) {
                    self.resume(of);
                }
            }
            Step::Freeze(of) => {
                self.pause(of);
                self.boxes[of].frozen = self.boxes[of].on;
            }
            Step::Thaw(of) => {
                if std::mem::take(&mut self.boxes[of].frozen) {
                    self.resume(of);
                }
            }
            Step::ThawWithoutClock(of) => {
                let each = &mut self.boxes[of];
                each.clock.stood += self.now - each.paused_at;
                each.frozen = false;
                self.go_on(of);
            }
            Step::Kill(of) => self.boxes[of].kill(),
            Step::Start(of) => {
                if self.boxes[of].on {
                    self.start_at(of, self.now);
                }
            }
            Step::PowerOff(of) => {
                let each = &mut self.boxes[of];
                each.kill();
                each.on = false;
                each.frozen = false;
                each.plane = Default::default();
            }
            Step::PowerOn(of) => self.power_on(of),
            Step::LateWrites { of, ms } => self.boxes[of].late_writes = ms * MS,
            Step::LateEndless { of, ms } => self.boxes[of].late_endless = ms * MS,
            Step::TimersFirst { of, first } => self.boxes[of].timers_first = first,
            Step::HandOver(of) => self.command(of, Command::HandOver),
            Step::Restart { of, ms } => {
                self.restart_after = ms * MS;
                self.command(of, Command::Restart);
            }
            Step::Maintenance { of, on } => {
                self.boxes[of].maintenance = on;
                self.command(of, Command::Maintenance(on));
            }
            Step::Fault { of, on } => {
                self.boxes[of].inputs.fault = on;
                self.inputs(of);
            }
            Step::Synced { of, synced } => {
                self.boxes[of].inputs.synced = synced;
                self.inputs(of);
            }
            Step::Pools { of, healthy } => {
                self.boxes[of].inputs.healthy_pools = healthy;
                self.inputs(of);
            }
            Step::WallClock => {}
            Step::Heal => self.heal(),
        }
        let now = self.now;
        self.checker.look(now, [self.boxes[0].owns(now), self.boxes[1].owns(now)]);
    }

    fn pause(&mut self, of: usize) {
        let each = &mut self.boxes[of];
        if !each.stopped && !each.frozen {
            each.paused_at = self.now;
        }
    }

    fn resume(&mut self, of: usize) {
        let each = &self.boxes[of];
        if each.stopped || each.frozen {
            return;
        }
        // A pause is noticed by a tick that is later than two heartbeats; ticks are up to one and a half apart.
        if self.now - each.paused_at > self.timers.heartbeat.0 * 4 {
            self.checker.resumed[of] = self.now;
        }
        self.go_on(of);
    }

    fn power_on(&mut self, of: usize) {
        let drift = self.rng.between(0, 800) as i64 - 400;
        let each: &mut Machine = &mut self.boxes[of];
        if each.on {
            return;
        }
        each.on = true;
        each.boots += 1;
        each.clock = Clock::new(self.now, drift);
        each.plane = Default::default();
        self.start_at(of, self.now);
    }

    fn command(&mut self, of: usize, command: Command) {
        if self.boxes[of].runs() {
            self.handle(of, Event::Command(command));
        }
    }

    fn heal(&mut self) {
        self.all_lines(|line| line.heal());
        for of in 0..2 {
            self.boxes[of].late_writes = 0;
            self.boxes[of].late_endless = 0;
            self.step(Step::Thaw(of));
            self.step(Step::Continue(of));
            self.step(Step::Fault { of, on: false });
            self.step(Step::Synced { of, synced: true });
            self.step(Step::Maintenance { of, on: false });
            self.step(Step::Pools { of, healthy: 5 });
            self.step(Step::PowerOn(of));
            if self.boxes[of].daemon.is_none() && self.boxes[of].plane.life != Instant::default() {
                self.step(Step::Start(of));
            }
        }
    }
}
