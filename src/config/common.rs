//! What the two boxes of a pair have in common, and what is of one box alone.
//!
//! Of one box: `hostname`, `interfaces` (its ports, MAC, own addresses), `pair` (its peer's MAC, paths, key file), `limits`,
//! `http`, `ssh`, `snmp` and `logging.source`. In common: everything else, and `interfaces.inside`, which floats, and
//! `http.tokens`.

use super::{Config, Http, Interfaces, Logging, Name};

/// The part that both boxes have; what is of one box is at its default.
pub fn common(config: &Config) -> Config {
    let nothing = Config {
        hostname: Name::of_a_box(),
        interfaces: Interfaces::default(),
        source_nat: Vec::new(),
        pair: None,
        limits: Default::default(),
        http: Default::default(),
        users: Default::default(),
        enable_secret: None,
        banner: String::new(),
        ssh: Default::default(),
        logging: Default::default(),
        snmp: None,
        servers: Default::default(),
        pools: Default::default(),
        virtual_servers: Default::default(),
    };
    merge(config, &nothing)
}

/// What both have as in `common`, what is of one box as in `own`. Whether that can work is to be checked.
pub fn merge(common: &Config, own: &Config) -> Config {
    // Field by field: a new one must be put on one side or the other.
    let Config {
        hostname,
        interfaces,
        source_nat: _,
        pair,
        limits,
        http,
        users: _,
        enable_secret: _,
        banner: _,
        ssh,
        logging,
        snmp,
        servers: _,
        pools: _,
        virtual_servers: _,
    } = own;
    Config {
        hostname: hostname.clone(),
        interfaces: Interfaces { inside: common.interfaces.inside.clone(), ..interfaces.clone() },
        source_nat: common.source_nat.clone(),
        pair: pair.clone(),
        limits: limits.clone(),
        http: Http { tokens: common.http.tokens.clone(), ..http.clone() },
        users: common.users.clone(),
        enable_secret: common.enable_secret.clone(),
        banner: common.banner.clone(),
        ssh: ssh.clone(),
        logging: Logging { source: logging.source, servers: common.logging.servers.clone() },
        snmp: snmp.clone(),
        servers: common.servers.clone(),
        pools: common.pools.clone(),
        virtual_servers: common.virtual_servers.clone(),
    }
}

/// Of a box that is to be filled by its peer: it serves nothing and nobody.
pub fn is_blank(config: &Config) -> bool {
    config.servers.is_empty() && config.pools.is_empty() && config.virtual_servers.is_empty()
}

#[cfg(test)]
#[path = "common_tests.rs"]
mod tests;
