#!/bin/sh
# Holds what the HTTP interface answers against its description, by requests that schemathesis makes up: EXAMPLES for each
# operation and phase, of a fixed SEED, against a daemon in a network namespace that is thrown away. As root.
#
#   tests/schemathesis/run.sh [LBD]      default target/debug/lbd
#
# Not asked: /api/v1/changes, which has no end (tests/http/changes.rs), and capture and top, which take as long as the request
# says.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
lbd=$(realpath "${1:-target/debug/lbd}")
seed=${SEED:-20261128}
examples=${EXAMPLES:-15}
version=4.32.5

# Programs of Python that Debian does not have live in a directory of their own, beside what cargo makes.
venv=$(realpath -m "${VENV:-$here/../../target/schemathesis-$version}")
if [ ! -x "$venv/bin/schemathesis" ]; then
	python3 -m venv "$venv"
	"$venv/bin/pip" install -q "schemathesis==$version"
fi

name=lbd-schema-$$
dir=$(mktemp -d "/tmp/$name.XXXXXX")
daemon=
clean() {
	status=$?
	if [ -n "$daemon" ]; then
		kill "$daemon" 2>/dev/null || true
		wait "$daemon" 2>/dev/null || true
		nsenter --net="/run/netns/$name" "$lbd" stop --run-dir "$dir/run" || true
	fi
	ip netns del "$name" 2>/dev/null || true
	[ $status = 0 ] || { echo "schemathesis: the end of the daemon's log:"; tail -n 20 "$dir/log" 2>/dev/null || true; }
	rm -rf "$dir"
	exit $status
}
trap clean EXIT
trap 'exit 130' INT TERM HUP

ip netns add "$name"
ip -n "$name" link set lo up
ip -n "$name" link add up0 type veth peer name up1
ip -n "$name" link set up0 up
ip -n "$name" link set up1 up
ip -n "$name" addr add 10.1.0.1/24 dev up0

"$lbd" token schemathesis --level 15 >"$dir/token"
token=$(head -n 1 "$dir/token")
hash=$(grep -o 'sha256:[0-9a-f]*' "$dir/token")
cat >"$dir/lb.yaml" <<YAML
hostname: lb1
interfaces: {ports: [up0], xdp: generic, inside: [10.1.0.254/24]}
http:
  require-token: true
  tokens: {schemathesis: {hash: "$hash", level: 15}}
servers:
  pc1: {address: 10.1.0.11}
  pc2: {address: 10.1.0.12}
pools:
  mx: {members: [pc1, pc2], check: {type: none}}
virtual-servers:
  mail:
    addresses: [192.0.2.25]
    services:
      smtp: {port: 25, pool: mx, mode: nat}
YAML

nsenter --net="/run/netns/$name" "$lbd" run --config "$dir/lb.yaml" --state-dir "$dir/state" --run-dir "$dir/run" 2>"$dir/log" &
daemon=$!

begun=$(date +%s)
# What it remembers of a run would make the next one another one.
cd "$dir"
nsenter --net="/run/netns/$name" "$venv/bin/schemathesis" --config-file "$here/schemathesis.toml" run \
	http://127.0.0.1:8080/api/v1/openapi.json --wait-for-schema 20 \
	--header "Authorization: Bearer $token" --seed "$seed" --max-examples "$examples" \
	--exclude-path /api/v1/changes --exclude-path /api/v1/capture --exclude-path /api/v1/top --request-timeout 10 --workers 2 --no-color \
	>"$dir/report" 2>&1 || { cat "$dir/report"; exit 1; }
tail -n 25 "$dir/report"
kill -0 "$daemon" || { echo "schemathesis: the daemon has died"; exit 1; }
if grep -n "panicked" "$dir/log"; then exit 1; fi
echo "schemathesis: nothing found in $(($(date +%s) - begun)) s, seed $seed, $examples examples for each operation and phase"
