//! Compiles the BPF program to an object and a typed skeleton in `OUT_DIR`.
use libbpf_cargo::SkeletonBuilder;
use std::{env, path::PathBuf};

const SOURCE: &str = "src/dataplane/bpf/lbd.bpf.c";

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("lbd.skel.rs");
    // Debian keeps <asm/types.h> in a folder per architecture, which clang does not
    // search when the target is bpf.
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    let multiarch = format!("-I/usr/include/{arch}-linux-gnu");
    SkeletonBuilder::new()
        .source(SOURCE)
        .clang_args([multiarch.as_str(), "-Wall", "-Wextra", "-Werror", "-mcpu=v3"])
        .build_and_generate(&out)
        .unwrap_or_else(|e| {
            panic!("{SOURCE} does not compile: {e:#}\n(needs clang, libelf-dev, zlib1g-dev, pkg-config: `make setup` installs them)")
        });
    println!("cargo:rerun-if-changed=src/dataplane/bpf");
}
