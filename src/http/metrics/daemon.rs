//! The daemon: what it is, what it uses, how prompt it is, its configuration, its clock, and who has logged in.

use super::families::{Families, flag, float, sample};
use crate::core::control::word::Word;
use crate::core::control::{LogServerState, State};

pub fn daemon(state: &State, families: &mut Families) {
    let one = |labels: &[(&'static str, &str)], value| vec![sample(labels, value)];
    families.gauge(
        "lbd_build_info",
        "Version of the program and name of the box; always 1.",
        one(&[("version", &state.version), ("hostname", &state.hostname)], 1.0),
    );
    families.gauge(
        "lbd_role",
        "What this box does in the pair, as a label; always 1.",
        one(&[("role", state.role.word())], 1.0),
    );
    families.gauge(
        "lbd_start_time_seconds",
        "When the daemon started, Unix time; the data plane may be older.",
        one(&[], float(state.started_at)),
    );
    families.gauge("lbd_uptime_seconds", "Time since the daemon started.", one(&[], float(state.uptime_seconds)));
    families.gauge(
        "lbd_data_plane_adopted",
        "1 if the daemon took over a running data plane when it started.",
        one(&[], flag(state.adopted)),
    );
    families.gauge("lbd_warnings", "Warnings in /api/v1/state now.", one(&[], float(state.warnings.len() as u64)));
    own(state, families);
    let config = &state.config;
    families.gauge(
        "lbd_config_revision",
        "Configurations that came into force since the daemon started.",
        one(&[], float(config.revision)),
    );
    families.gauge(
        "lbd_config_unsaved",
        "1 while what is in force, or was typed and waits to be complete, is not what the file says.",
        one(&[], flag(config.unsaved)),
    );
    families.gauge(
        "lbd_config_loaded_timestamp_seconds",
        "When the configuration in force was loaded, Unix time.",
        one(&[], float(config.loaded_at)),
    );
    families.gauge(
        "lbd_config_last_reload_successful",
        "1 if the latest attempt to load a configuration succeeded; 0: the one before is still in force.",
        one(&[], flag(config.last_reload_ok)),
    );
    families.gauge(
        "lbd_config_last_reload_timestamp_seconds",
        "When the latest attempt to load a configuration was made, Unix time.",
        one(&[], float(config.last_reload_at)),
    );
}

/// Where the log goes, and what was lost on the way; and the certificate that the HTTP listener shows.
fn log(state: &State, families: &mut Families) {
    let each = |value: &dyn Fn(&LogServerState) -> f64| {
        let sample = |server: &LogServerState| {
            let address = server.address.to_string();
            sample(&[("address", &address), ("transport", server.transport)], value(server))
        };
        state.logging.servers.iter().map(sample).collect()
    };
    families.gauge(
        "lbd_log_server_connected",
        "1 while a connection to a syslog server is open; of UDP, while datagrams can be sent.",
        each(&|server| flag(server.connected)),
    );
    families.counter(
        "lbd_log_server_sent_total",
        "Messages sent to a syslog server, since the daemon started or the server was configured.",
        each(&|server| float(server.sent)),
    );
    families.counter(
        "lbd_log_server_lost_total",
        "Messages that a syslog server did not get: more than its rate, or than its queue has room for, or refused on the way.",
        each(&|server| float(server.lost)),
    );
    families.gauge(
        "lbd_log_server_queued",
        "Messages that wait for a syslog server.",
        each(&|server| float(server.queued)),
    );
    families.counter(
        "lbd_events_unwritten_total",
        "Events that are not in the file of events, since the daemon started: it could not be written, or not fast enough.",
        vec![sample(&[], float(state.logging.events_unwritten))],
    );
    families.gauge(
        "lbd_http_certificate_expiry_timestamp_seconds",
        "When the certificate that the HTTP listener shows ends, Unix time; absent without TLS.",
        state.http_certificate_ends_at.map(|at| sample(&[], float(at))).into_iter().collect(),
    );
}

/// What it uses, and how prompt it is.
fn own(state: &State, families: &mut Families) {
    let one = |value| vec![sample(&[], value)];
    let daemon = &state.daemon;
    families.counter(
        "lbd_daemon_cpu_seconds_total",
        "Processor time of all threads of the daemon, since it started; packets are not among it.",
        one(daemon.cpu_seconds),
    );
    families.gauge(
        "lbd_daemon_resident_memory_bytes",
        "Physical memory of the daemon, without the maps of the data plane.",
        one(float(daemon.resident_bytes)),
    );
    families.gauge("lbd_daemon_threads", "Threads of the daemon.", one(float(daemon.threads)));
    families.gauge("lbd_daemon_open_files", "Open file descriptors.", one(float(daemon.open_files)));
    families.gauge(
        "lbd_daemon_open_files_limit",
        "Most file descriptors that the daemon may have open.",
        one(float(daemon.open_files_max)),
    );
    families.gauge(
        "lbd_daemon_event_loop_lag_seconds",
        "By how much a timer of the daemon came late at most, in the last minute.",
        one(daemon.lag_seconds),
    );
    families.gauge(
        "lbd_daemon_event_loop_turn_seconds",
        "The longest time in the last minute from an event to the data plane that follows it.",
        one(daemon.turn_seconds),
    );
    let clock = &state.clock;
    families.gauge("lbd_clock_seconds", "The box's clock at the scrape, Unix time.", one(clock.unix_seconds));
    families.gauge(
        "lbd_clock_synchronized",
        "1 while something keeps the clock, as the kernel knows; absent if it does not say.",
        clock.synchronized.map(|kept| sample(&[], flag(kept))).into_iter().collect(),
    );
    families.gauge(
        "lbd_clock_error_max_seconds",
        "How far the clock may be off at most, as the kernel believes.",
        clock.error_max_seconds.map(|error| sample(&[], error)).into_iter().collect(),
    );
    log(state, families);
    let logins = state.logins.iter().flat_map(|login| {
        [("accepted", login.accepted), ("refused", login.refused)]
            .map(|(result, count)| sample(&[("door", login.door), ("result", result)], float(count)))
    });
    families.counter(
        "lbd_logins_total",
        "Logins by people since the daemon started: at the command line (ssh), as an administrator there (enable), and \
         over HTTP.",
        logins.collect(),
    );
}
