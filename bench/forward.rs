//! Packets a second from one veth to another: a bare XDP redirect, lbd, and nftables' DNAT.
//!
//! `cargo bench --bench forward`, as root. Namespaces, all gone at the end:
//!
//! ```text
//!   ends                 one for each contender              ends
//!   generator ── g-X ══ in [redirect | lbd | nftables] out ══ s-X ── XDP that counts and drops
//! ```
//!
//! The kernel itself generates (BPF_PROG_TEST_RUN on live frames), on the processor that then does all
//! the work: what is compared is the whole way of a packet, veth and sink included.

#[path = "common.rs"]
mod common;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use common::{ACK, Case, From, OWN_MAC, Order, Programs, SCATTERED, fates, quartiles};
use lbd::config::{Mac, Mode, Timeouts, XdpMode};
use lbd::core::forwarding::Family;
use lbd::dataplane::DataPlane;
use lbd::os::netns;
use libbpf_rs::{Link, MapCore, MapFlags};
use nix::net::if_::if_nametoindex;

const FLOWS: u32 = 16_384;
const FRAMES: u32 = 1 << 19;
const ROUNDS: usize = 9;
const SINK_MAC: Mac = Mac([2, 0, 0, 0, 0, 11]);
const DSR: Case = Case { mode: Mode::Dsr, family: Family::V4 };
const NAT: Case = Case { mode: Mode::Nat, family: Family::V4 };

fn main() -> Result<()> {
    println!("{}\n", common::machine()?);
    let ends = Namespace::new("ends")?;
    let lanes = [Lane::new("bare", &ends)?, Lane::new("lbd", &ends)?, Lane::new("nft", &ends)?];
    let [bare, lbd, nft] = &lanes;
    let mut programs = Programs::load()?;
    let mut links = Vec::new();
    for lane in &lanes {
        ends.enter()?;
        links.push(programs.skel.progs.sink.attach_xdp(if_nametoindex(lane.sink.as_str())? as i32)?);
    }
    links.push(start_bare(&programs, bare)?);
    let plane = start_lbd(&mut programs, lbd)?;
    start_nftables(nft)?;
    ends.enter()?;

    let contenders =
        [("bare redirect", bare, NAT), ("lbd, DSR", lbd, DSR), ("lbd, NAT", lbd, NAT), ("nftables DNAT", nft, NAT)];
    let mut rates = contenders.map(|_| Vec::new());
    let mut shares = contenders.map(|_| Vec::new());
    for (_, lane, case) in contenders {
        send(&mut programs, lane, case)?; // connection tracking makes its entries
    }
    let before = plane.reasons()?;
    let mut through_lbd = 0;
    for _ in 0..ROUNDS {
        for (n, (_, lane, case)) in contenders.into_iter().enumerate() {
            let (arrived, seconds) = send(&mut programs, lane, case)?;
            rates[n].push(arrived as f64 / seconds / 1e6);
            shares[n].push(arrived as f64 / f64::from(FRAMES) * 100.0);
            through_lbd += if lane.name == "lbd" { arrived } else { 0 };
        }
    }
    let fates = fates(&before, &plane.reasons()?);
    ensure!(
        matches!(fates[..], [("to-server", n)] if n >= through_lbd),
        "{through_lbd} packets came through lbd, which says: {fates:?}"
    );

    let medians = rates.clone().map(|rates| quartiles(rates)[1]);
    println!("| {FLOWS} flows, one processor | M packets/s | quartiles | arrived | of bare | times nftables |");
    println!("|---|--:|--:|--:|--:|--:|");
    for (n, (name, ..)) in contenders.into_iter().enumerate() {
        let [low, rate, high] = quartiles(rates[n].clone());
        let (of_bare, times) = (rate / medians[0] * 100.0, rate / medians[3]);
        let arrived = quartiles(shares[n].clone())[1];
        println!("| {name} | **{rate:.2}** | {low:.2}–{high:.2} | {arrived:.1} % | {of_bare:.0} % | {times:.1} |");
    }
    Ok(())
}

/// Sends `FRAMES` of established flows through a lane; how many arrived, in how many seconds.
fn send(programs: &mut Programs, lane: &Lane, case: Case) -> Result<(u64, f64)> {
    /// linux/bpf.h
    const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 2;
    programs.order(Order { case, from: From::Client, flags: ACK, ack: 5, flows: FLOWS, first: 0, step: SCATTERED })?;
    let generator = if_nametoindex(lane.generator.as_str())?;
    let (before, start) = (arrived(programs)?, Instant::now());
    common::test_run(&programs.skel.progs.generate, generator, FRAMES, BPF_F_TEST_XDP_LIVE_FRAMES)?;
    let seconds = start.elapsed().as_secs_f64();
    let arrived = arrived(programs)? - before;
    ensure!(arrived > 0, "nothing came through {}", lane.name);
    Ok((arrived, seconds))
}

fn arrived(programs: &Programs) -> Result<u64> {
    let per_cpu = programs.skel.maps.arrived.lookup_percpu(&[0; 4], MapFlags::ANY)?.context("no counter")?;
    Ok(per_cpu.iter().filter_map(|bytes| bytes.as_slice().try_into().ok()).map(u64::from_ne_bytes).sum())
}

fn start_bare(programs: &Programs, lane: &Lane) -> Result<Link> {
    lane.namespace.enter()?;
    let out = if_nametoindex("out")?;
    programs.skel.maps.way_out.update(&[0; 4], &out.to_ne_bytes(), MapFlags::ANY)?;
    Ok(programs.skel.progs.bare_forward.attach_xdp(if_nametoindex("in")? as i32)?)
}

/// The whole data plane on both ports, with established flows of both modes.
fn start_lbd(programs: &mut Programs, lane: &Lane) -> Result<DataPlane> {
    lane.namespace.enter()?;
    let (outside, inside) = (if_nametoindex("in")?, if_nametoindex("out")?);
    let mut plane = DataPlane::load(&common::limits(2 * FLOWS), None)?;
    let state = common::site(outside, inside, SINK_MAC, &Timeouts::default())?;
    plane.apply(&state, &Default::default(), XdpMode::Native)?;
    plane.own_alone();
    programs.aim_at(&plane)?;
    programs.establish(&plane, DSR, outside, FLOWS)?;
    programs.establish(&plane, NAT, outside, FLOWS)?;
    Ok(plane)
}

fn start_nftables(lane: &Lane) -> Result<()> {
    lane.namespace.enter()?;
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    for device in ["all", "in", "out"] {
        std::fs::write(format!("/proc/sys/net/ipv4/conf/{device}/rp_filter"), "0")?;
    }
    let (vip, server) = (common::vip(Family::V4), common::server_address(1, Family::V4));
    // A redirect into a veth is delivered only where the far end has GRO on, or XDP.
    run("ethtool -K in gro on")?;
    run("ip address add 10.255.255.254/8 dev in")?;
    run(&format!("ip route add {server} dev out"))?;
    run(&format!("ip neighbour add {server} lladdr {SINK_MAC} dev out nud permanent"))?;
    feed(
        "nft -f -",
        &format!(
            "table ip balance {{\n chain in {{\n type nat hook prerouting priority dstnat\n \
             ip daddr {vip} tcp dport 110 dnat to {server}\n }}\n}}\n"
        ),
    )
}

/// One contender: its namespace, and the names of its veths in the namespace of both ends.
struct Lane {
    name: &'static str,
    namespace: Namespace,
    generator: String,
    sink: String,
}

impl Lane {
    fn new(name: &'static str, ends: &Namespace) -> Result<Self> {
        let namespace = Namespace::new(name)?;
        let (generator, sink) = (format!("g-{name}"), format!("s-{name}"));
        for (port, end, mac) in [("in", &generator, Mac([2, 0, 0, 0, 0, 99])), ("out", &sink, SINK_MAC)] {
            run(&format!(
                "ip link add {end} address {mac} netns {} type veth peer name {port} address {OWN_MAC} netns {}",
                ends.0, namespace.0
            ))?;
            run(&format!("ip -n {} link set {port} up", namespace.0))?;
            run(&format!("ip -n {} link set {end} up", ends.0))?;
        }
        Ok(Self { name, namespace, generator, sink })
    }
}

/// A network namespace that goes when this is dropped.
struct Namespace(String);

impl Namespace {
    fn new(name: &str) -> Result<Self> {
        let namespace = Self(format!("lbd-bench{}-{name}", std::process::id()));
        run(&format!("ip netns add {}", namespace.0))?;
        namespace.enter()?;
        // Or the kernel sends frames of its own, which are not what is measured.
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")?;
        Ok(namespace)
    }

    fn enter(&self) -> Result<()> {
        Ok(netns::enter(&self.0)?)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = run(&format!("ip netns delete {}", self.0)) {
            eprintln!("{error:#}");
        }
    }
}

fn run(command: &str) -> Result<()> {
    feed(command, "")
}

/// Runs a command in this thread's namespace, with `input` on its standard input.
fn feed(command: &str, input: &str) -> Result<()> {
    let mut words = command.split_whitespace();
    let mut child = Command::new(words.next().context("no command")?)
        .args(words)
        .stdin(Stdio::piped())
        .spawn()
        .with_context(|| command.to_owned())?;
    child.stdin.take().context("no standard input")?.write_all(input.as_bytes())?;
    ensure!(child.wait()?.success(), "`{command}` failed");
    Ok(())
}
