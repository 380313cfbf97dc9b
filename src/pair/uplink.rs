//! Which of the two uplinks is open. Router – box 1 – cross-connect – box 2 – router is a loop, so one of them blocks.
//! And whether this box's end of the cross-connect is open, which it is but for a moment after a cut.
//!
//! ```text
//!              no cross-connect runs, or I own and the other is silent altogether
//!   blocked ──────────────────────────────────────────────────────────────────────> open
//!      ^      both are blocked: the owner opens at once, the other one a moment later │
//!      └──────────────────────────────────────────────────────────────────────────────┘
//!              both are open: who does not own blocks; or this uplink has no carrier
//! ```
//!
//! Owning and having the open uplink are two things. A hand-over moves no uplink: the new owner is reached through the
//! old one's, so that no path changes under way. Neither does the death of a daemon: its box goes on being a
//! switch, and its data plane says so. Only a box that answers nothing at all is no part of a loop any more.
//!
//! While the cross-connect is cut both uplinks are open, so that its mending would close the loop until one box has
//! said something. A loop of some milliseconds is enough to teach every switch on it wrong places, for minutes:
//! machines that are spoken to there hear nothing, and so say nothing that would correct it. Therefore each box holds
//! its end of a dead cross-connect blocked, and opens it when one uplink blocks.

use super::time::Span;

/// What is known of the other box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Its heartbeats come. `crossed`: it could send frames here by a cross-connect.
    Heard { owns: bool, open: bool, crossed: bool },
    /// No heartbeats, but its data plane answers: it is a switch still, its ports as they were.
    Answers,
    /// Nothing has come yet, and it was not listened to for long enough to call it silent.
    Unknown,
    /// Nothing.
    Silent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    pub owns: bool,
    /// The greater of two numbers settles what nothing else does.
    pub greater: bool,
    /// The uplinks have a carrier.
    pub usable: bool,
    /// This box could send frames to the other one by a cross-connect. If that one could, too, the loop would be
    /// closed.
    pub crossed: bool,
    /// This box's uplinks are open now.
    pub open: bool,
    /// For how long they have been as they are.
    pub since: Span,
    pub peer: Peer,
}

/// The one that does not own waits for so many heartbeats before it opens, so that not both do at once.
const PATIENCE_HEARTBEATS: u64 = 3;

/// Whether this box's uplinks should be open. `heartbeat`: the time between two.
pub fn should_be_open(now: Situation, heartbeat: Span) -> bool {
    let Situation { owns, greater, usable, crossed, open, since, peer } = now;
    if !usable {
        return false;
    }
    if !crossed || matches!(peer, Peer::Heard { crossed: false, .. }) {
        return true;
    }
    match peer {
        Peer::Silent => owns || open,
        Peer::Answers | Peer::Unknown => open,
        // Both open: one blocks.
        Peer::Heard { open: true, owns: theirs, .. } => open && if owns == theirs { greater } else { owns },
        Peer::Heard { open: false, .. } if open => true,
        Peer::Heard { open: false, owns: theirs, .. } => {
            let first = if owns == theirs { greater } else { owns };
            first || since >= heartbeat * PATIENCE_HEARTBEATS
        }
    }
}

/// What is known when the cross-connect is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// This box's uplinks are open.
    pub uplink_open: bool,
    /// A cross-connect has a carrier, or none has.
    pub carrier: bool,
    /// For how long that has been so.
    pub since: Span,
    /// The other box has been seen by a cross-connect.
    pub crossed: bool,
    /// This box's ends of the cross-connects are open.
    pub open: bool,
    pub peer: Peer,
}

/// Whether this box's ends of the cross-connects should be open. `dead`: after so long without a word a box is silent.
pub fn cross_should_be_open(now: Crossing, dead: Span) -> bool {
    let Crossing { uplink_open, carrier, since, crossed, open, peer } = now;
    if !uplink_open {
        return true;
    }
    if !carrier {
        return false;
    }
    match peer {
        Peer::Heard { crossed: theirs, .. } if !crossed || !theirs => false,
        Peer::Heard { open: false, .. } => true,
        Peer::Heard { open: true, .. } | Peer::Answers | Peer::Unknown => open,
        // Perhaps it can be heard by the cross-connect alone.
        Peer::Silent => open || since >= dead,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A box at whose end the cross-connect is well.
    fn heard(owns: bool, open: bool) -> Peer {
        Peer::Heard { owns, open, crossed: true }
    }

    const H: Span = Span::from_millis(50);

    /// A standby whose peer owns and has the open uplink.
    fn standby() -> Situation {
        Situation {
            owns: false,
            greater: true,
            usable: true,
            crossed: true,
            open: false,
            since: Span::from_millis(60_000),
            peer: heard(true, true),
        }
    }

    fn opens(situation: Situation) -> bool {
        should_be_open(situation, H)
    }

    #[test]
    fn a_standby_blocks_while_the_other_one_is_open() {
        assert!(!opens(standby()));
    }

    #[test]
    fn a_takeover_from_a_dead_box_opens() {
        assert!(!opens(Situation { peer: Peer::Silent, ..standby() }), "not before it owns");
        assert!(opens(Situation { peer: Peer::Silent, owns: true, ..standby() }));
    }

    #[test]
    fn a_takeover_from_a_dead_daemon_leaves_the_ports_as_they_are() {
        assert!(!opens(Situation { peer: Peer::Answers, owns: true, ..standby() }));
        assert!(opens(Situation { peer: Peer::Answers, owns: true, open: true, ..standby() }));
    }

    /// An owner whose daemon has just been started has a peer by whose uplink the customers come.
    #[test]
    fn who_has_just_begun_to_listen_leaves_the_ports_as_they_are() {
        assert!(!opens(Situation { peer: Peer::Unknown, owns: true, ..standby() }));
        assert!(opens(Situation { peer: Peer::Unknown, owns: true, open: true, ..standby() }));
    }

    #[test]
    fn a_hand_over_moves_no_uplink() {
        let handed = heard(false, true);
        assert!(!opens(Situation { owns: true, peer: handed, ..standby() }));
        let other = heard(true, false);
        assert!(opens(Situation { owns: false, open: true, peer: other, ..standby() }));
    }

    #[test]
    fn without_a_carrier_an_uplink_blocks_and_the_other_one_opens() {
        assert!(!opens(Situation { owns: true, open: true, usable: false, ..standby() }));
        let lost = heard(true, false);
        assert!(opens(Situation { peer: lost, ..standby() }), "after a while also while the other one owns");
        assert!(!opens(Situation { peer: lost, since: Span::from_millis(149), ..standby() }));
    }

    #[test]
    fn where_no_cross_connect_runs_there_is_no_loop() {
        for peer in [standby().peer, Peer::Answers, Peer::Silent] {
            assert!(opens(Situation { crossed: false, peer, ..standby() }));
        }
    }

    /// An owner with an open uplink, whose cross-connect has just been mended.
    fn mended() -> Crossing {
        let peer = heard(false, true);
        Crossing { uplink_open: true, carrier: true, since: Span::ZERO, crossed: true, open: false, peer }
    }

    #[test]
    fn a_cross_connect_that_is_cut_is_held_until_one_uplink_blocks() {
        let crosses = |crossing| cross_should_be_open(crossing, H * 5);
        assert!(!crosses(Crossing { carrier: false, open: true, ..mended() }));
        assert!(!crosses(mended()));
        assert!(!crosses(Crossing { crossed: false, peer: heard(false, false), ..mended() }), "not seen across yet");
        assert!(crosses(Crossing { peer: heard(false, false), ..mended() }));
        assert!(crosses(Crossing { uplink_open: false, ..mended() }), "this box's own");
        assert!(crosses(Crossing { uplink_open: false, carrier: false, ..mended() }));
    }

    /// The news of a carrier that is back takes up to a second (Linux's link watch), and not the same time at both ends.
    #[test]
    fn while_one_end_has_no_carrier_both_uplinks_stay_open_and_both_ends_are_held() {
        let peer = Peer::Heard { owns: true, open: true, crossed: false };
        assert!(opens(Situation { open: true, peer, ..standby() }));
        assert!(!cross_should_be_open(Crossing { open: true, peer, ..mended() }, H * 5));
    }

    #[test]
    fn an_open_cross_connect_stays_open_while_it_has_a_carrier() {
        for peer in [mended().peer, Peer::Answers, Peer::Unknown, Peer::Silent] {
            assert!(cross_should_be_open(Crossing { open: true, peer, ..mended() }, H * 5));
        }
    }

    #[test]
    fn a_silent_box_is_given_the_time_in_which_it_would_be_heard() {
        let silent = Crossing { peer: Peer::Silent, crossed: false, ..mended() };
        assert!(!cross_should_be_open(silent, H * 5));
        assert!(cross_should_be_open(Crossing { since: H * 5, ..silent }, H * 5));
    }

    /// Two boxes that hear each other, in any state, have one uplink open after a few rounds, and it stays so.
    #[test]
    fn from_any_state_one_uplink_is_open_in_the_end() {
        for state in 0..16 {
            let bit = |n: u8| state >> n & 1 == 1;
            let (owns, mut open) = ([bit(0), bit(1)], [bit(2), bit(3)]);
            let mut since = [0_u64; 2];
            for _ in 0..8 {
                // Each decides by what the other one said in the round before.
                let before = open;
                for me in [0, 1] {
                    let other = 1 - me;
                    let situation = Situation {
                        owns: owns[me],
                        greater: me == 1,
                        usable: true,
                        crossed: true,
                        open: before[me],
                        since: H * since[me],
                        peer: heard(owns[other], before[other]),
                    };
                    open[me] = opens(situation);
                    since[me] = if open[me] == before[me] { since[me] + 1 } else { 0 };
                }
            }
            assert!(open[0] != open[1], "{state:04b}: {open:?}");
        }
    }
}
