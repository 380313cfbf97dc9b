//! What a kind of service asks for, so that a pool is two lines. docs/configuration.md has the table.

use std::sync::Arc;
use std::time::Duration;

use super::model::{Check, CheckKind, Persistence, Ports, Protocol, Scheduler, Timeouts, UdpLife};
use super::probe::{
    DnsProbe, FtpProbe, HttpProbe, LdapProbe, MailboxProbe, MysqlProbe, Probe, RadiusProbe, Security, SmtpProbe,
    TlsOptions,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    Smtp,
    Submission,
    Smtps,
    Pop3,
    Pop3s,
    Imap,
    Imaps,
    Webmail,
    Http,
    Https,
    RadiusAuth,
    RadiusAcct,
    Dns,
    Ftp,
    Ldap,
    MysqlRead,
    Syslog,
}

/// What is not said of a pool, and of the services that it stands behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    pub protocol: Protocol,
    /// Of the service. `None`: it must be said.
    pub ports: Option<Ports>,
    pub scheduler: Scheduler,
    pub check: Check,
    pub persistence: Option<Persistence>,
    pub timeouts: Timeouts,
    /// For UDP services.
    pub udp: UdpLife,
    pub passive: Option<Ports>,
}

impl Defaults {
    /// Of a pool with this profile, or with none.
    pub fn of(profile: Option<Profile>) -> Self {
        profile.map_or_else(Self::without_profile, Profile::defaults)
    }

    fn without_profile() -> Self {
        Self {
            protocol: Protocol::Tcp,
            ports: None,
            scheduler: Scheduler::default(),
            check: Check::default(),
            persistence: None,
            timeouts: Timeouts::default(),
            udp: UdpLife::default(),
            passive: None,
        }
    }

    /// UDP life of a service with this protocol.
    pub fn udp_of(&self, protocol: Protocol) -> UdpLife {
        if protocol == Protocol::Udp { self.udp } else { UdpLife::default() }
    }

    /// Passive ports of a service with this protocol and these ports: only one control port has any.
    pub fn passive_of(&self, protocol: Protocol, ports: Ports) -> Option<Ports> {
        self.passive.filter(|_| protocol == Protocol::Tcp && !ports.is_range())
    }

    /// Timeouts of a service with this protocol: those of the other one mean nothing to it.
    pub fn timeouts_of(&self, protocol: Protocol) -> Timeouts {
        let default = Timeouts::default();
        match protocol {
            Protocol::Udp => Timeouts { udp: self.timeouts.udp, ..default },
            Protocol::Tcp => Timeouts { udp: default.udp, ..self.timeouts.clone() },
        }
    }
}

/// Where the secret shared with RADIUS servers is, unless a pool says otherwise.
pub const RADIUS_SECRET_FILE: &str = "/etc/lbd/radius.secret";

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// Mail servers give up an idle client after 5 to 10 minutes (RFC 5321, 4.5.3.2; RFC 1939, 3).
const MAIL_IDLE: Duration = minutes(15);
/// A browser keeps connections open for a few minutes between two pages.
const WEB_IDLE: Duration = minutes(10);
/// Clients of directories and databases keep pools of connections open for hours.
const POOLED_IDLE: Duration = minutes(8 * 60);
/// The control connection is silent during a transfer.
const FTP_IDLE: Duration = minutes(120);
/// Passive ports that an FTP server must be told to use.
const FTP_PASSIVE: Ports = Ports { first: 50_000, last: 50_999 };

impl Profile {
    pub const ALL: [Self; 17] = [
        Self::Smtp,
        Self::Submission,
        Self::Smtps,
        Self::Pop3,
        Self::Pop3s,
        Self::Imap,
        Self::Imaps,
        Self::Webmail,
        Self::Http,
        Self::Https,
        Self::RadiusAuth,
        Self::RadiusAcct,
        Self::Dns,
        Self::Ftp,
        Self::Ldap,
        Self::MysqlRead,
        Self::Syslog,
    ];

    pub fn defaults(self) -> Defaults {
        let tls = || Security::Tls(TlsOptions::default());
        let smtp = |security| Probe::Smtp(SmtpProbe { security, ..SmtpProbe::default() });
        let mailbox = |security| MailboxProbe { security, ..MailboxProbe::default() };
        let web = |security| Probe::Http(HttpProbe { security, ..HttpProbe::default() });
        let radius = || Probe::Radius(RadiusProbe { secret_file: RADIUS_SECRET_FILE.into(), login: None });
        match self {
            Self::Smtp => tcp(25, smtp(Security::Plain), MAIL_IDLE),
            Self::Submission => tcp(587, smtp(Security::Plain), MAIL_IDLE),
            Self::Smtps => tcp(465, smtp(tls()), MAIL_IDLE),
            Self::Pop3 => tcp(110, Probe::Pop3(mailbox(Security::Plain)), MAIL_IDLE),
            Self::Pop3s => tcp(995, Probe::Pop3(mailbox(tls())), MAIL_IDLE),
            // The default of 40 minutes is IMAP's; its clients stay for days, so that the numbers must be even.
            Self::Imap => least(tcp(143, Probe::Imap(mailbox(Security::Plain)), Timeouts::default().established)),
            Self::Imaps => least(tcp(993, Probe::Imap(mailbox(tls())), Timeouts::default().established)),
            Self::Webmail => Defaults {
                persistence: Some(Persistence { timeout: minutes(30), ..Persistence::default() }),
                ..tcp(443, web(tls()), WEB_IDLE)
            },
            Self::Http => tcp(80, web(Security::Plain), WEB_IDLE),
            Self::Https => tcp(443, web(tls()), WEB_IDLE),
            // A NAS sends everything from one port for ever. A conversation of several rounds (EAP) must stay on
            // its server: so a flow lives on, but not for longer than a minute.
            Self::RadiusAuth => udp(1812, radius(), UdpLife::MaxAge(minutes(1))),
            Self::RadiusAcct => udp(1813, radius(), UdpLife::MaxAge(minutes(1))),
            Self::Dns => udp(53, Probe::Dns(DnsProbe::default()), UdpLife::PerPacket),
            Self::Ftp => Defaults {
                // Control and data connections of a client must meet at one server.
                scheduler: Scheduler::SourceHash,
                persistence: Some(Persistence { timeout: FTP_IDLE, ..Persistence::default() }),
                passive: Some(FTP_PASSIVE),
                ..tcp(21, Probe::Ftp(FtpProbe::default()), FTP_IDLE)
            },
            Self::Ldap => tcp(389, Probe::Ldap(LdapProbe::default()), POOLED_IDLE),
            Self::MysqlRead => least(tcp(3306, Probe::Mysql(MysqlProbe::default()), POOLED_IDLE)),
            // Nobody answers syslog over UDP: whether the machine is there is all that can be asked.
            Self::Syslog => udp(514, Probe::Icmp, UdpLife::MaxAge(Duration::from_secs(10))),
        }
    }
}

fn tcp(port: u16, probe: Probe, established: Duration) -> Defaults {
    Defaults {
        ports: Some(Ports::single(port)),
        check: Check { kind: CheckKind::Probe(Arc::new(probe)), ..Check::default() },
        timeouts: Timeouts { established, ..Timeouts::default() },
        ..Defaults::without_profile()
    }
}

fn udp(port: u16, probe: Probe, udp: UdpLife) -> Defaults {
    let timeouts = Timeouts { udp: Duration::from_secs(30), ..Timeouts::default() };
    Defaults {
        protocol: Protocol::Udp,
        scheduler: Scheduler::RoundRobin,
        timeouts,
        udp,
        ..tcp(port, probe, Timeouts::default().established)
    }
}

fn least(defaults: Defaults) -> Defaults {
    Defaults { scheduler: Scheduler::LeastConnections, ..defaults }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_probes_and_has_a_port() {
        for profile in Profile::ALL {
            let defaults = profile.defaults();
            assert!(defaults.ports.is_some(), "{profile:?}");
            assert!(matches!(defaults.check.kind, CheckKind::Probe(_)), "{profile:?}");
        }
    }

    #[test]
    fn a_service_of_the_other_protocol_has_no_part_of_a_profile_that_means_nothing_to_it() {
        let dns = Profile::Dns.defaults();
        assert_eq!(dns.udp_of(Protocol::Udp), UdpLife::PerPacket);
        assert_eq!(dns.udp_of(Protocol::Tcp), UdpLife::Idle);
        assert_eq!(dns.timeouts_of(Protocol::Tcp), Timeouts::default());
        let ftp = Profile::Ftp.defaults();
        assert_eq!(ftp.passive_of(Protocol::Tcp, Ports::single(21)), Some(FTP_PASSIVE));
        assert_eq!(ftp.passive_of(Protocol::Udp, Ports::single(21)), None);
    }
}
