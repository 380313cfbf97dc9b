//! Nanoseconds per packet of the XDP program, over a program that only swaps MACs.
//!
//! `cargo bench --bench dataplane`, as root; with `-- NAT` only the cases with that in their name. Each figure is the
//! median of many short runs; runs of lbd and of the bare program take turns, so that what else happens on the machine
//! meets both.

#[path = "common.rs"]
mod common;

use anyhow::{Result, ensure};
use common::{ACK, Case, From, IN_TURN, Order, Programs, SCATTERED, SYN, Target, fates, quartiles};
use lbd::config::{Mode, Timeouts};
use lbd::core::forwarding::Family;
use lbd::dataplane::DataPlane;

const MILLION: u32 = 1_048_576;
/// How many, and in which order their packets come: that in which they were established is the kindest to
/// the processor's caches, scattered is what many customers at once are.
const FLOWS: [(u32, u32, &str); 4] =
    [(1, IN_TURN, "1"), (65_536, SCATTERED, "64 k"), (MILLION, IN_TURN, "1 M, in turn"), (MILLION, SCATTERED, "1 M")];
/// Clients that have never been seen: so many before the first comes again.
const NEWCOMERS: u32 = 1 << 24;
const ROUNDS: usize = 41;
const PACKETS: u32 = 1 << 17;
/// Loopback is in every network namespace; frames that are only test runs are never sent.
const PORT: u32 = 1;

/// What DSR cost over bare when the design was tried, and the best-known open XDP balancer.
fn marks(case: Case, flows: u32) -> &'static str {
    match (case.mode, flows) {
        (Mode::Dsr, 1) => "70 / 110",
        (Mode::Dsr, MILLION) => "220 / 320",
        _ => "",
    }
}

fn main() -> Result<()> {
    println!("{}\n", common::machine()?);
    println!("| packets | flows | lbd, ns | bare, ns | lbd − bare, ns | quartiles | mark / other |");
    println!("|---|--:|--:|--:|--:|--:|--:|");
    let mut programs = Programs::load()?;
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with("--")).unwrap_or_default();
    for mode in [Mode::Dsr, Mode::Nat] {
        for family in [Family::V4, Family::V6] {
            let which = Case { mode, family };
            if which.name().contains(&wanted) {
                case(&mut programs, which)?;
            }
        }
    }
    Ok(())
}

fn case(programs: &mut Programs, case: Case) -> Result<()> {
    let mut plane = DataPlane::load(&common::limits(MILLION), None)?;
    plane.apply_tables(&common::site(PORT, PORT, lbd::config::Mac([2, 0, 0, 0, 0, 11]), &Timeouts::default())?)?;
    plane.own_alone();
    programs.aim_at(&plane)?;
    for (flows, step, label) in FLOWS {
        programs.establish(&plane, case, PORT, flows)?;
        let order = Order { case, from: From::Client, flags: ACK, ack: 5, flows, first: 0, step };
        programs.order(order)?;
        measure(programs, &plane, "to-server", case.name(), label, marks(case, flows))?;
        if case.mode == Mode::Nat {
            programs.order(Order { from: From::Server, ..order })?;
            measure(programs, &plane, "to-client", &format!("{}, replies", case.name()), label, "")?;
        }
        ensure!(common::established(&plane, case)? == u64::from(flows), "flows were lost while they were measured");
    }
    // Beside a full table of others: a client's first packet finds none of its own.
    programs.order(Order {
        case,
        from: From::Client,
        flags: SYN,
        ack: 0,
        flows: NEWCOMERS,
        first: MILLION,
        step: IN_TURN,
    })?;
    measure(programs, &plane, "to-server", &format!("{}, SYN of a new client", case.name()), "ever new", "")
}

/// Measures what was ordered, and prints a row; fails if any packet met another fate than `fate`.
fn measure(programs: &mut Programs, plane: &DataPlane, fate: &str, what: &str, flows: &str, mark: &str) -> Result<()> {
    let before = plane.reasons()?;
    let (mut lbd, mut bare, mut cost) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let without = programs.run(Target::Bare, PORT, PACKETS)?;
        let with = programs.run(Target::Lbd, PORT, PACKETS)?;
        bare.push(without);
        lbd.push(with);
        cost.push(with - without);
    }
    let fates = fates(&before, &plane.reasons()?);
    let all = ROUNDS as u64 * u64::from(PACKETS);
    ensure!(fates == [(fate, all)], "{what}: of {all} packets not all went {fate}: {fates:?}");
    let [low, median, high] = quartiles(cost);
    let ([_, lbd, _], [_, bare, _]) = (quartiles(lbd), quartiles(bare));
    println!("| {what} | {flows} | {lbd:.0} | {bare:.0} | **{median:.0}** | {low:.0}–{high:.0} | {mark} |");
    Ok(())
}
