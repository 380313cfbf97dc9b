//! Traffic from end to end: the real `lbd run` between real sockets, in network namespaces. Needs root.
//!
//! Every test builds a site of its own, and ends by asking the balancer whether it lost or dropped
//! anything that it should not have: see `stage`.

mod traffic {
    mod answers;
    mod dsr_probe;
    mod flooding;
    mod fragments;
    mod ftp;
    mod generic;
    mod guest;
    mod hairpin;
    mod icmp;
    mod losses;
    mod many;
    mod moves;
    mod ports;
    mod single;
    mod smtp;
    mod stage;
    mod switching;
    mod transfers;
    mod vip_watch;
    mod vlan;
    mod wire;
}
