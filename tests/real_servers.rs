//! The site with its true software, from Debian packages: `lbd lab --servers real`. Needs root, and the packages
//! of `tools/setup.sh real`, which the lab installs by itself where they are missing.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use lbd::lab::claim::{namespaces_of, processes_in};
use lbd::lab::real::program::state_of;
use lbd::lab::real::site::{PCS, Software};
use lbd::lab::real::store::{ALICE, Trouble};
use lbd::lab::real::{RealSite, packages};

const LBD: &str = env!("CARGO_BIN_EXE_lbd");
/// Of what happens at once, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(10);
/// Set for the process that plays the owner of a site and is killed.
const OWNER: &str = "LBD_TEST_OWNS_A_SITE";

/// One site at a time: each is some forty processes, and what they take is measured.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    // A test that failed has said so itself.
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn site() -> RealSite {
    packages::install_missing().unwrap();
    RealSite::start(Path::new(LBD)).unwrap()
}

fn wait_until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "not in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Processes that have the network of one of the lab's machines.
fn processes_of(id: &str) -> Vec<i32> {
    processes_in(&namespaces_of(id).unwrap()).unwrap()
}

fn assert_nothing_is_left(id: &str) {
    assert_eq!(namespaces_of(id).unwrap(), Vec::<PathBuf>::new());
    assert!(!Path::new("/run/lbd-lab").join(id).exists());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&format!("/lbd-lab/{id}/")), "{mounts}");
}

/// Logs in by POP3 at this machine itself, up to the password; the connection is still to be read.
fn log_in(site: &RealSite, pc: &str) -> TcpStream {
    let login = |stream: &mut TcpStream| -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        write!(stream, "USER {}\r\n", ALICE.user)?;
        lines.read_line(&mut line)?;
        write!(stream, "PASS {}\r\n", ALICE.password)
    };
    let address = SocketAddr::from(([127, 0, 0, 1], 110));
    let connect = move || -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        login(&mut stream)?;
        Ok(stream)
    };
    site.site.host(pc).unwrap().enter(connect).unwrap().unwrap()
}

/// How a login goes on; `None` if nothing is said for so long.
fn answer(stream: &mut TcpStream, patience: Duration) -> Option<String> {
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut buffer = [0; 200];
    let length = stream.read(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Processes of a site that wait in the kernel and cannot be interrupted (proc(5), state D).
fn blocked(id: &str) -> usize {
    processes_of(id).into_iter().filter(|pid| state_of(*pid) == Some('D')).count()
}

#[test]
fn real_clients_are_served_in_both_modes_and_no_fault_is_seen_by_a_customer_once_it_is_found() {
    let _alone = alone();
    let mut child =
        Command::new(LBD).args(["lab", "--servers", "real", "--tour"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    println!("{said}");
    assert!(status.success(), "{said}");
    assert!(!said.contains("[NOT SO]") && said.contains("All of it was so: "), "{said}");
    assert_nothing_is_left(&child.id().to_string());
}

#[test]
fn nothing_of_the_machine_itself_is_changed_and_a_dropped_site_leaves_nothing() {
    let _alone = alone();
    packages::install_missing().unwrap();
    let list = || -> Vec<String> {
        let mut find = Command::new("find");
        find.args(["exim4", "courier", "apache2", "bind", "freeradius"].map(|name| format!("/etc/{name}")));
        find.args(["exim4", "courier", "apache2", "named", "freeradius"].map(|name| format!("/run/{name}")));
        find.args(
            ["mail", "spool/exim4", "log", "cache/bind", "lib/courier", "www"].map(|name| format!("/var/{name}")),
        );
        find.args(["-type", "f", "-printf", "%p %s %T@ %U %m\\n"]);
        let mut lines: Vec<String> =
            String::from_utf8_lossy(&find.output().unwrap().stdout).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let before = list();
    assert!(before.len() > 100, "find found files");
    let site = site();
    let id = site.site.id().to_owned();
    assert!(processes_of(&id).len() > 30, "it runs");
    drop(site);
    assert_nothing_is_left(&id);
    assert_eq!(list(), before);
}

#[test]
fn a_blocked_mail_store_holds_a_login_in_the_kernel_and_lets_it_go_when_it_is_over() {
    let _alone = alone();
    let site = site();
    let id = site.site.id();
    let mut well = log_in(&site, "pc2");
    assert!(answer(&mut well, PATIENCE).is_some_and(|line| line.starts_with("+OK")));
    let trouble = Trouble::blocked(site.machine("pc2").unwrap()).unwrap();
    let mut hangs = log_in(&site, "pc2");
    wait_until("a login waits in the kernel", || blocked(id) > 0);
    assert_eq!(answer(&mut hangs, Duration::from_millis(500)), None, "nothing is said");
    let mut other = log_in(&site, "pc4");
    assert!(answer(&mut other, PATIENCE).is_some_and(|line| line.starts_with("+OK")), "pc4's mount is its own");
    trouble.end(site.machine("pc2").unwrap()).unwrap();
    wait_until("nobody waits any more", || blocked(id) == 0);
    let mut again = log_in(&site, "pc2");
    assert!(answer(&mut again, PATIENCE).is_some_and(|line| line.starts_with("+OK")));
}

#[test]
fn a_server_is_stopped_with_all_its_processes_and_goes_on_when_it_may() {
    let _alone = alone();
    let mut site = site();
    for name in Software::Pop3.programs() {
        let program = site.machine("pc2").unwrap().program(name).unwrap();
        program.freeze().unwrap();
        assert!(program.processes().into_iter().all(|pid| matches!(state_of(pid), Some('T' | 'Z') | None)));
    }
    // The kernel still accepts.
    let address = SocketAddr::from(([127, 0, 0, 1], 110));
    let connect = move || TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    let mut stream = site.site.host("pc2").unwrap().enter(connect).unwrap();
    assert_eq!(answer(&mut stream, Duration::from_millis(500)), None);
    for name in Software::Pop3.programs() {
        site.machine("pc2").unwrap().program(name).unwrap().thaw();
    }
    assert!(answer(&mut stream, PATIENCE).is_some_and(|line| line.starts_with("+OK")));
    site.stop("pc2", Software::Pop3).unwrap();
    let refused = move || TcpStream::connect_timeout(&address, PATIENCE).unwrap_err().kind();
    let host = site.site.host("pc2").unwrap();
    assert_eq!(host.enter(refused).unwrap(), std::io::ErrorKind::ConnectionRefused);
    site.start_again("pc2", Software::Pop3).unwrap();
    let mut again = log_in(&site, "pc2");
    assert!(answer(&mut again, PATIENCE).is_some_and(|line| line.starts_with("+OK")));
}

/// Not a test: the process that [`of_a_killed_owner_no_process_survives_not_even_those_at_a_blocked_store`] kills.
#[test]
fn owner_that_is_killed() {
    if std::env::var_os(OWNER).is_none() {
        return;
    }
    let site = site();
    let _trouble = PCS.map(|pc| Trouble::blocked(site.machine(pc).unwrap()).unwrap());
    let _hang = ["pc2", "pc4"].map(|pc| log_in(&site, pc));
    wait_until("logins wait in the kernel", || blocked(site.site.id()) > 1);
    println!("site {}", site.site.id());
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn of_a_killed_owner_no_process_survives_not_even_those_at_a_blocked_store() {
    let _alone = alone();
    packages::install_missing().unwrap();
    let mut owner: Child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner_that_is_killed", "--nocapture"])
        .env(OWNER, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let mut ids = lines.filter_map(|line| line.unwrap().split_once("site ").map(|(_, id)| id.to_owned()));
    let id = ids.next().expect("the owner has a site");
    let pids = processes_of(&id);
    assert!(pids.len() > 30, "{pids:?}");
    owner.kill().unwrap();
    owner.wait().unwrap();
    // No new lab is started meanwhile: that they end is the kernel's work alone.
    let alive = || pids.iter().filter(|pid| state_of(**pid).is_some_and(|s| s != 'Z')).count();
    wait_until("all of its processes are gone", || alive() == 0);
    // What is left are namespaces and files, which the next lab removes.
    lbd::lab::claim::sweep().unwrap();
    assert_nothing_is_left(&id);
}
