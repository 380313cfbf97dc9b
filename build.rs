//! Compiles the BPF programs to objects and typed skeletons in `OUT_DIR`, and
//! hands the numbers of the data plane's header to Rust.
use libbpf_cargo::SkeletonBuilder;
use std::path::{Path, PathBuf};
use std::{env, fmt::Write, fs};

const SOURCE: &str = "src/dataplane/bpf/lbd.bpf.c";
const BENCH: &str = "bench/bench.bpf.c";
const HEADER: &str = "src/dataplane/bpf/lb.h";

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    skeleton(SOURCE, &out.join("lbd.skel.rs"));
    skeleton(BENCH, &out.join("bench.skel.rs"));
    fs::write(out.join("lb_constants.rs"), constants()).expect("OUT_DIR can be written");
    println!("cargo:rerun-if-changed=src/dataplane/bpf");
    println!("cargo:rerun-if-changed={BENCH}");
}

fn skeleton(source: &str, to: &Path) {
    // Debian keeps <asm/types.h> in a folder per architecture, which clang does not
    // search when the target is bpf.
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    let multiarch = format!("-I/usr/include/{arch}-linux-gnu");
    SkeletonBuilder::new()
        .source(source)
        .clang_args([multiarch.as_str(), "-Wall", "-Wextra", "-Werror", "-mcpu=v3"])
        .build_and_generate(to)
        .unwrap_or_else(|e| {
            panic!("{source} does not compile: {e:#}\n(needs clang, libelf-dev, zlib1g-dev, pkg-config: `make setup` installs them)")
        });
}

/// `#define LBD_NAME number` as Rust constants: macros leave no trace in BTF, which carries the rest.
fn constants() -> String {
    let header = fs::read_to_string(HEADER).unwrap_or_else(|e| panic!("{HEADER}: {e}"));
    let mut rust = String::new();
    for line in header.lines() {
        let mut words = line.split_whitespace();
        let (Some("#define"), Some(name), Some(value)) = (words.next(), words.next(), words.next()) else { continue };
        let Some(name) = name.strip_prefix("LBD_") else { continue };
        let digits = value.trim_end_matches(['u', 'U', 'L']);
        let number = match digits.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => digits.parse().ok(),
        };
        match (number, value) {
            (Some(number), _) => writeln!(rust, "pub const {name}: u32 = {number};"),
            (None, "(~0ULL)") => writeln!(rust, "pub const {name}: u64 = u64::MAX;"),
            _ => panic!("{HEADER}: the value of LBD_{name} is not a number: {value}"),
        }
        .expect("a String can be written");
    }
    rust
}
