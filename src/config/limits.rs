//! The ranges of all numbers and the sizes that a configuration may have: the
//! one place for constants that an operator may ask about.

/// An inclusive range. Durations are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub min: u32,
    pub max: u32,
}

impl Range {
    pub const fn contains(self, value: u64) -> bool {
        self.min as u64 <= value && value <= self.max as u64
    }
}

const fn range(min: u32, max: u32) -> Range {
    Range { min, max }
}

const SECOND: u32 = 1_000;
const HOUR: u32 = 3_600 * SECOND;
const DAY: u32 = 24 * HOUR;

/// Share of new connections, of a server or a member.
pub const WEIGHT: Range = range(1, 1_000);
/// Most connections of a server at once; 0 is no limit. Its maximum is that of the table of connections.
pub const MAX_CONNECTIONS: Range = range(0, CONNECTIONS.max);
/// 802.1Q identifiers; 0 and 4095 are reserved (IEEE 802.1Q, 9.6).
pub const VLAN: Range = range(1, 4_094);
pub const PREFIX4: Range = range(1, 32);
pub const PREFIX6: Range = range(1, 128);

pub const CONNECTIONS: Range = range(1_024, 16_777_216);
pub const EMBRYONIC: Range = range(1_024, 1_048_576);
pub const PERSISTENCE: Range = range(1_024, 4_194_304);
pub const FRAGMENTS: Range = range(256, 262_144);

/// Until the connections that a drain has left are reset: at once, to a week.
pub const DRAIN_DEADLINE: Range = range(0, 7 * DAY);

/// Times of flows and persistence: 1 s to 24 h.
pub const FLOW_TIME: Range = range(SECOND, DAY);
pub const SLOW_START: Range = range(0, HOUR);
pub const CHECK_INTERVAL: Range = range(100, HOUR);
/// Besides, no longer than the interval.
pub const CHECK_TIMEOUT: Range = range(10, HOUR);
pub const CHECK_COUNT: Range = range(1, 10);
/// Besides, no longer than the interval.
pub const CHECK_FAST_INTERVAL: Range = range(20, HOUR);
/// Besides, no longer than the timeout.
pub const CHECK_SLOW: Range = range(1, HOUR);
pub const FLAP_HOLD: Range = range(0, HOUR);
/// Members of a pool that must be up.
pub const MIN_UP: Range = range(0, 1_000);
/// Days that a certificate must still be valid.
pub const MIN_DAYS: Range = range(1, 3_650);
/// Longest text of a probe's option, a path of a file included (as PATH_MAX of linux/limits.h, less its NUL).
pub const OPTION_BYTES_MAX: usize = 4_095;
/// Words of a script's command.
pub const COMMAND_WORDS_MAX: usize = 64;
/// Networks of clients that a pool sends to another one.
pub const MIGRATE_CLIENTS_MAX: usize = 256;

/// Levels of users, as IOS has them.
pub const LEVEL: Range = range(1, 15);
pub const USERS_MAX: usize = 256;
/// Public keys of one user.
pub const SSH_KEYS_MAX: usize = 32;
/// From the connection to the login.
pub const SSH_GRACE: Range = range(5 * SECOND, 600 * SECOND);
/// Wrong passwords of one connection.
pub const SSH_ATTEMPTS: Range = range(1, 10);
/// 0 is never.
pub const SSH_IDLE: Range = range(0, 7 * DAY);
/// Sessions at once.
pub const SSH_SESSIONS: Range = range(1, 64);
/// Addresses that the SSH listener has.
pub const SSH_LISTEN_MAX: usize = 16;
/// Networks of the access list.
pub const SSH_ACCESS_MAX: usize = 256;
/// Longest text before the login.
pub const BANNER_BYTES_MAX: usize = 2_000;

/// Servers that get the log.
pub const LOG_SERVERS_MAX: usize = 8;

/// Of a pair: how often a heartbeat goes out.
pub const HEARTBEAT: Range = range(20, SECOND);
/// Besides, five heartbeats at least.
pub const DEAD: Range = range(100, 10 * SECOND);
pub const ORPHAN_AFTER: Range = range(2 * SECOND, HOUR);
pub const PREEMPT: Range = range(0, HOUR);
pub const FENCE_TIMEOUT: Range = range(100, 60 * SECOND);
pub const PRIORITY: Range = range(0, 255);
/// Ways on which heartbeats go.
pub const PATHS_MAX: usize = 8;
/// Routers that an owner must reach.
pub const GATEWAYS_MAX: usize = 8;

/// Addresses that the HTTP listener listens at.
pub const HTTP_LISTEN_MAX: usize = 16;
/// Networks of `http.allow`, and of `from` of a token.
pub const HTTP_ALLOW_MAX: usize = 64;
/// Tokens of the HTTP interface: each request with one is held against all of them.
pub const TOKENS_MAX: usize = 64;
/// Level of privilege of a token.
pub const TOKEN_LEVEL: Range = Range { min: 0, max: 15 };

/// Longest interface name: IFNAMSIZ less its NUL (linux/if.h).
pub const INTERFACE_NAME_BYTES_MAX: usize = 15;

/// Largest configuration file. A site at all the limits below stays under it.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

// Sizes of the data plane's fixed tables (`dataplane/bpf/lb.h`, LBD_MAX_*), which are twice these
// where a table has an entry for each address family, or is a hash that should not run full.

/// Ports that the data plane sits on.
pub const INTERFACES_MAX: usize = 256;
/// This box's own addresses on a managed bridge.
pub const OWN_ADDRESSES_MAX: usize = 64;
/// Ports towards routers. With those towards the other box no more than `core::gates` has room for.
pub const UPLINKS_MAX: usize = 32;
/// Ports towards the other box of a pair.
pub const CROSS_CONNECT_MAX: usize = 32;
/// Floating inside addresses.
pub const INSIDE_MAX: usize = 256;
/// Entries of `source-nat`.
pub const SOURCE_NAT_MAX: usize = 256;
pub const SERVERS_MAX: usize = 4_096;
/// Addresses of all virtual servers.
pub const VIRTUAL_ADDRESSES_MAX: usize = 1_024;
/// Services of one address family.
pub const SERVICES_MAX: usize = 4_096;
/// Sum over the services of the members of their pools.
pub const SERVICE_MEMBERS_MAX: usize = 16_384;
/// Sum over the services of addresses × ports.
pub const SERVICE_PORTS_MAX: usize = 65_536;
/// Members of a pool with the scheduler `least-connections`, which looks at each of them for each new connection.
pub const LEAST_CONNECTIONS_MEMBERS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// The number behind a `#define` of the data plane's header.
    fn defined(name: &str) -> u64 {
        include_str!("../dataplane/bpf/lb.h")
            .lines()
            .find_map(|line| line.strip_prefix("#define ")?.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
            .unwrap_or_else(|| panic!("lb.h does not define {name}"))
    }

    #[test]
    fn a_configuration_at_its_limits_fits_the_data_plane() {
        assert!(defined("LBD_MAX_VIPS ") >= VIRTUAL_ADDRESSES_MAX as u64);
        assert!(defined("LBD_MAX_SERVERS ") >= SERVERS_MAX as u64);
        assert!(defined("LBD_MAX_SERVICES ") >= 2 * SERVICES_MAX as u64);
        assert!(defined("LBD_MAX_SERVICE_PORTS ") >= SERVICE_PORTS_MAX as u64);
        assert!(defined("LBD_MAX_DESTS ") >= 2 * SERVICE_MEMBERS_MAX as u64);
        assert!(defined("LBD_MAX_SNATS ") >= SOURCE_NAT_MAX as u64);
        assert!(defined("LBD_MAX_PORTS ") >= INTERFACES_MAX as u64);
        assert!(defined("LBD_LEAST_CONNECTIONS_MAX ") >= LEAST_CONNECTIONS_MEMBERS_MAX as u64);
        let addresses = 2 * SERVERS_MAX + VIRTUAL_ADDRESSES_MAX + INSIDE_MAX + SOURCE_NAT_MAX;
        assert!(defined("LBD_MAX_ADDRS ") >= addresses as u64);
    }
}
