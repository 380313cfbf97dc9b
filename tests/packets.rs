//! The XDP program, frame by frame: what goes in, the verdict, what comes out byte by byte, and the
//! counters that move. A file a subject; `frame` builds and judges frames, `site` is the stage.
//!
//! Needs root (BPF_PROG_TEST_RUN); attaches to nothing and sends nothing.

mod packets {
    mod frame;
    mod site;

    mod answers;
    mod clients;
    mod counts;
    mod dsr;
    mod explain;
    mod fragments;
    mod ftp;
    mod full_nat;
    mod fuzz;
    mod gate;
    mod icmp_errors;
    mod lease;
    mod limits;
    mod migration;
    mod nat;
    mod pass_back;
    mod persistence;
    mod questions;
    mod refusals;
    mod resets;
    mod scheduling;
    mod sync;
    mod tcp_state;
    mod udp;
    mod vlan;
    mod windows;
}
