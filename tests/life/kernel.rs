//! What waits for the kernel, and who does not.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::conf::echo;
use super::stage::Stage;

/// Interfaces of a namespace that goes.
const VETHS: usize = 60;
/// A monitor's patience with the API, and more than a busy machine needs.
const ANSWER: Duration = Duration::from_secs(1);
const STORM: Duration = Duration::from_secs(12);

/// Makes and removes network namespaces full of interfaces, which holds the kernel's RTNL lock, until dropped.
struct Storm {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

fn ip(arguments: &str) {
    let mut ip = Command::new("ip");
    _ = ip.args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

impl Storm {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..2).map(|number| {
            let stop = stop.clone();
            let name = format!("lbd-storm-{}-{number}", std::process::id());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    ip(&format!("netns add {name}"));
                    for veth in 0..VETHS {
                        ip(&format!("-n {name} link add a{veth} type veth peer name b{veth}"));
                    }
                    ip(&format!("netns del {name}"));
                }
            })
        });
        Self { threads: threads.collect(), stop }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| _ = thread.join());
    }
}

#[test]
fn the_state_is_told_at_once_while_namespaces_full_of_interfaces_come_and_go() {
    // With direct server return, whose probes have a way of their own in the kernel.
    let stage = Stage::new(2, &echo(2, "dsr"));
    stage.wait("both are scheduled", |state| state.all_scheduled());
    let _storm = Storm::start();
    let (begun, mut worst, mut asked) = (Instant::now(), Duration::ZERO, 0);
    while begun.elapsed() < STORM {
        let before = Instant::now();
        stage.state();
        worst = worst.max(before.elapsed());
        asked += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    eprintln!("{asked} asked, the slowest answer took {worst:?}");
    assert!(worst < ANSWER, "of {asked} the slowest answer took {worst:?}");
}
