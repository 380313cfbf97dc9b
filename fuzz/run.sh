#!/bin/sh
# Fuzzes each target (or those that are named) for SECONDS, 60 by default, and says how many inputs were tried
# and what was found. What was learnt stays in corpus/, what fails in artifacts/.
set -eu
cd "$(dirname "$0")"

seconds=${SECONDS_EACH:-60}
version=0.13.2
command -v cargo-fuzz >/dev/null || {
	echo "fuzz: cargo-fuzz is missing: cargo install cargo-fuzz --version $version --locked" >&2
	exit 1
}
[ $# -gt 0 ] || set -- $(cargo fuzz list)
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Sanitizers want a nightly compiler, and look for what safe Rust has not; libFuzzer itself runs on stable.
cargo fuzz build --sanitizer none
failed=
for target; do
	found="none"
	# An input is at most 4 KiB, and may take 2 s and 256 MiB at most.
	cargo fuzz run --sanitizer none "$target" -- -max_total_time="$seconds" -max_len=4096 -timeout=2 \
		-rss_limit_mb=256 -dict=words.dict -print_final_stats=1 >"$log" 2>&1 || {
		failed="$failed $target"
		found="yes, see fuzz/artifacts/$target"
		grep -E "panicked|ERROR|SUMMARY" "$log" | head -n 5 >&2
	}
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	printf '%-8s %12s inputs in %s s, findings: %s\n' "$target" "${runs:-?}" "$seconds" "$found"
done
[ -z "$failed" ]
