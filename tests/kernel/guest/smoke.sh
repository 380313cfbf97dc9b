#!/bin/sh
# Is this guest fit for the tests of lbd? Exits 0 only if all of it is so. For a plain POSIX shell.

failures=0
ok()   { echo "ok    $*"; }
fail() { echo "FAIL  $*"; failures=$((failures + 1)); }
check() { # TEXT COMMAND...: COMMAND must succeed; what it prints is shown if it does not
    text=$1
    shift
    if output=$("$@" 2>&1); then
        ok "$text"
    else
        fail "$text: '$*' exited with $?: $output"
    fi
}
# Not `ip netns exec`: that mounts a new /sys over the old, and bpffs is out of sight.
in_ns() { ns=$1; shift; nsenter --net="/run/netns/$ns" "$@"; }

release=$(uname -r)
echo "kernel $release"
case $release in
    6.1.*) ok "the kernel is a 6.1" ;;
    *) fail "the kernel is not a 6.1: choose another with run.sh --kernel-package" ;;
esac
check "BTF of the kernel" test -s /sys/kernel/btf/vmlinux
check "the BPF compiler (JIT) is on" grep -qx '[12]' /proc/sys/net/core/bpf_jit_enable

# Two namespaces, a veth pair between them, and VLAN 10 on top of it.
build() {
    set -e
    ip netns add left
    ip netns add right
    ip link add l0 netns left type veth peer name r0 netns right
    for end in left:l0:1 right:r0:2; do
        ns=${end%%:*} last=${end##*:} dev=${end#*:} dev=${dev%:*}
        in_ns "$ns" ip link set lo up
        in_ns "$ns" ip link set "$dev" up
        in_ns "$ns" ip address add "192.0.2.$last/24" dev "$dev"
        in_ns "$ns" ip -6 address add "2001:db8::$last/64" dev "$dev" nodad
        in_ns "$ns" ip link add link "$dev" name "$dev.10" type vlan id 10
        in_ns "$ns" ip link set "$dev.10" up
        in_ns "$ns" ip address add "198.51.100.$last/24" dev "$dev.10"
    done
}
# In a subshell, whose `set -e` ends it at the first error; `check` would switch `set -e` off.
output=$( (build) 2>&1)
if [ -z "$output" ]; then
    ok "two namespaces, a veth pair, a VLAN device on each end"
else
    fail "the namespaces could not be built: $output"
fi

check "ping over the veth pair" in_ns left ping -c 1 -W 2 192.0.2.2
check "ping over the veth pair, IPv6" in_ns left ping -c 1 -W 2 2001:db8::2
check "ping over the VLAN device" in_ns left ping -c 1 -W 2 198.51.100.2

# That the VLAN device does tag: the frame on the wire below it carries the number.
# -p: no promiscuous mode, whose message would be one more line on the console.
in_ns right timeout 20 tcpdump -p -l -n -e -c 1 -i r0 vlan 10 and icmp >/tmp/frame 2>/tmp/tcpdump &
capture=$!
for _ in $(seq 50); do
    grep -q 'listening on' /tmp/tcpdump && break
    sleep 0.1
done
in_ns left ping -c 2 -W 2 198.51.100.2 >/dev/null 2>&1
if wait $capture && grep -q 'vlan 10' /tmp/frame; then
    ok "the frames of the VLAN device are tagged"
else
    fail "tcpdump saw no frame with VLAN 10 on r0: $(cat /tmp/frame /tmp/tcpdump)"
fi

# A bridge that knows VLANs.
check "a bridge that filters VLANs" in_ns left ip link add br0 type bridge vlan_filtering 1
check "its VLAN table" in_ns left bridge vlan show dev br0

# netem, seen to work: 100 ms one way must show in the round trip.
check "netem on a veth" in_ns left tc qdisc add dev l0 root netem delay 100ms
round_trip=$(in_ns left ping -c 2 -W 2 192.0.2.2 | sed -n 's,.*min/avg/max = \([0-9]*\).*,\1,p')
if [ "${round_trip:-0}" -ge 100 ]; then
    ok "netem delays: the round trip takes $round_trip ms"
else
    fail "netem does not delay: the round trip takes '$round_trip' ms in place of 100 or more"
fi

for module in veth bridge 8021q sch_netem ip_vs; do
    check "module $module is loaded" grep -q "^$module " /proc/modules
done
check "IPVS answers" grep -q 'IP Virtual Server' /proc/net/ip_vs

# bpffs, and that it is the same one from within a namespace that was entered with nsenter.
check "bpffs is mounted" grep -q ' /sys/fs/bpf bpf ' /proc/mounts
check "bpffs can be written to" mkdir /sys/fs/bpf/smoke
check "bpffs is visible from a namespace (nsenter)" in_ns left test -d /sys/fs/bpf/smoke

if [ "$failures" -gt 0 ]; then
    echo "SMOKE FAILED: $failures checks, marked FAIL above"
    exit 1
fi
echo "smoke passed on $release"
