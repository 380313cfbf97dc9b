//! The life of the appliance, end to end: the real `lbd run` in network namespaces with real servers and
//! customers, through changes of configuration, deaths and returns. Needs root.
//!
//! - `stage` is the site with its balancer, `conf` writes configuration files, `api` asks the balancer;
//! - `talk` plays customers who stay, `frames` those who send what no socket would;
//! - everything else is tests.

#[path = "life/api.rs"]
mod api;
#[path = "life/conf.rs"]
mod conf;
#[path = "life/frames.rs"]
mod frames;
#[path = "life/peer.rs"]
mod peer;
#[path = "life/stage.rs"]
mod stage;
#[path = "life/talk.rs"]
mod talk;

#[path = "life/configuring.rs"]
mod configuring;
#[path = "life/console.rs"]
mod console;
#[path = "life/counts.rs"]
mod counts;
#[path = "life/doors.rs"]
mod doors;
#[path = "life/drain.rs"]
mod drain;
#[path = "life/events.rs"]
mod events;
#[path = "life/failure.rs"]
mod failure;
#[path = "life/flood.rs"]
mod flood;
#[path = "life/kernel.rs"]
mod kernel;
#[path = "life/layout.rs"]
mod layout;
#[path = "life/looking.rs"]
mod looking;
#[path = "life/machine.rs"]
mod machine;
#[path = "life/maintenance.rs"]
mod maintenance;
#[path = "life/metrics.rs"]
mod metrics;
#[path = "life/persistence.rs"]
mod persistence;
#[path = "life/questions.rs"]
mod questions;
#[path = "life/reload.rs"]
mod reload;
#[path = "life/resets.rs"]
mod resets;
#[path = "life/restart.rs"]
mod restart;
#[path = "life/scheduling.rs"]
mod scheduling;
#[path = "life/snmp.rs"]
mod snmp;
#[path = "life/ssh.rs"]
mod ssh;
#[path = "life/syslog.rs"]
mod syslog;
#[path = "life/timeouts.rs"]
mod timeouts;
#[path = "life/udp.rs"]
mod udp;
#[path = "life/work.rs"]
mod work;
