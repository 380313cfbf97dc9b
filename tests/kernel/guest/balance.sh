#!/bin/sh
# shellcheck disable=SC2086 # no path or name in here has a blank
# lbd between a client and two servers, on this kernel: TCP in DSR and NAT mode, over plain veth and over VLAN devices.
#   run.sh --timeout 300 target/release/lbd -- balance.sh [plain] [vlan] [--stage]
# --stage builds the network and tests it without lbd, which also every full run does first: what fails after
# that, is lbd's.
#
#                    ┌──────── balancer ────────┐
#   client eth0 ──── p0   br0: 192.0.2.2        p1 ──── eth0 server1
#   192.0.2.10       │         198.51.100.2     p2 ──── eth0 server2
#                    └──────────────────────────┘
#   outside 192.0.2.0/24:    the client, the VIPs (.100 DSR, .101 NAT), the servers (.11, .12) in DSR mode
#   inside  198.51.100.0/24: the servers (.11, .12) in NAT mode; their gateway .1 is lbd's floating inside address
# "plain": both networks share the wire, untagged. "vlan": outside is VLAN 10, inside VLAN 20, tagged on every wire.

bridge_mac=02:00:00:00:00:fe

# ---------------------------------------------------------------------------------------------------------------
# THE CONFIGURATION, and how lbd is started. Written before there was an lbd that reads it: to be brought in line with
# lb.yaml.example and `lbd run --help`. Nothing below this part knows either.
# ---------------------------------------------------------------------------------------------------------------
configuration() {
    cat <<EOF
hostname: lb1
interfaces:
  bridge: br0
  ports: [p0, p1, p2]
  mac: "$bridge_mac"
  inside: [198.51.100.1/24]
servers:
  outside1: { address: 192.0.2.11 }
  outside2: { address: 192.0.2.12 }
  inside1: { address: 198.51.100.11 }
  inside2: { address: 198.51.100.12 }
pools:
  direct:
    members: [outside1, outside2]
    scheduler: round-robin
    slow-start: 0s
  translated:
    members: [inside1, inside2]
    scheduler: round-robin
    slow-start: 0s
virtual-servers:
  direct:
    addresses: [192.0.2.100]
    services:
      web: { protocol: tcp, port: 80, pool: direct, mode: dsr }
  translated:
    addresses: [192.0.2.101]
    services:
      web: { protocol: tcp, port: 80, pool: translated, mode: nat }
EOF
}
start_lbd() {
    nsenter --net=/run/netns/balancer lbd run --config $work/lb.yaml --state-dir $work/state --run-dir $work/run \
        >>$work/lbd.log 2>&1 </dev/null &
    lbd=$!
}
# ---------------------------------------------------------------------------------------------------------------

failures=0
work=''
lbd=''
ok()   { echo "ok    $*"; }
fail() { echo "FAIL  $*"; failures=$((failures + 1)); }
die()  { echo "FAIL  $*"; exit 1; }
# Not `ip netns exec`, under which lbd's pins in bpffs would be out of sight, and gone with it.
in_ns() { ns=$1; shift; nsenter --net="/run/netns/$ns" "$@"; }

# Both ends of a wire as lbd wants veth to be. gro on: what XDP redirects into a veth is else dropped at its far end.
# tx off: no checksum is left for a network card to fill in, for there is none. txvlan, rxvlan off: a VLAN tag goes
# into the frame, as on a real wire, and not into a field beside it that XDP cannot see.
wire() { # HOST PORT
    ip link add eth0 netns "$1" type veth peer name "$2" netns balancer
    for end in "$1 eth0" "balancer $2"; do
        set -- $end # two words: the namespace and the device
        in_ns "$1" ethtool -K "$2" gro on tx off txvlan off rxvlan off >/dev/null
        in_ns "$1" ip link set "$2" up
    done
}

build_stage() { # plain | vlan
    set -e
    for ns in client balancer server1 server2; do
        ip netns add $ns
        in_ns $ns ip link set lo up
        # No addresses of their own, whose searches for duplicates would only be noise in the captures.
        in_ns $ns sysctl -q -w net.ipv6.conf.default.disable_ipv6=1
    done
    in_ns balancer ip link add br0 address $bridge_mac type bridge
    wire client p0
    wire server1 p1
    wire server2 p2
    for port in p0 p1 p2; do in_ns balancer ip link set $port master br0; done
    in_ns balancer ip link set br0 up

    if [ "$1" = vlan ]; then
        in_ns balancer ip link set br0 type bridge vlan_filtering 1 vlan_default_pvid 0
        for vlan in 10 20; do
            for port in p0 p1 p2; do in_ns balancer bridge vlan add dev $port vid $vlan; done
            in_ns balancer bridge vlan add dev br0 vid $vlan self
            for end in client/eth0 server1/eth0 server2/eth0 balancer/br0; do
                dev=${end#*/}
                in_ns ${end%/*} ip link add link $dev name $dev.$vlan type vlan id $vlan
                in_ns ${end%/*} ip link set $dev.$vlan up
            done
        done
    fi

    in_ns balancer ip address add 192.0.2.2/24 dev br0$outside
    in_ns balancer ip address add 198.51.100.2/24 dev br0$inside
    in_ns client ip address add 192.0.2.10/24 dev eth0$outside
    for n in 1 2; do
        in_ns server$n ip address add 192.0.2.1$n/24 dev eth0$outside
        in_ns server$n ip address add 198.51.100.1$n/24 dev eth0$inside
        # DSR: the VIP on lo, and not a word about it in ARP, neither as an answer nor as the sender of a question.
        in_ns server$n sysctl -q -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
        in_ns server$n ip address add 192.0.2.100/32 dev lo
        # NAT: what comes from an inside address goes back by the balancer, though the client's network is at hand.
        in_ns server$n ip rule add from 198.51.100.0/24 lookup 100
        in_ns server$n ip route add 198.51.100.0/24 dev eth0$inside table 100
        in_ns server$n ip route add default via 198.51.100.1 dev eth0$inside table 100

        mkdir -p $work/www$n/cgi-bin
        dd if=/dev/urandom of=$work/www$n/bulk bs=100k count=50 2>/dev/null
        # Which server answers, and whom it takes for its client.
        printf '%s\n' '#!/bin/sh' 'echo "Content-Type: text/plain"' 'echo' "echo server$n \$REMOTE_ADDR" \
            >$work/www$n/cgi-bin/who
        chmod 755 $work/www$n/cgi-bin/who
        in_ns server$n httpd -p 80 -h $work/www$n
    done
}

get() { # ADDRESS PATH
    # Not `wget -T 5`: Debian's static busybox crashes on it.
    in_ns client timeout 5 wget -q -O - "http://$1/$2" 2>/dev/null
}

stage_is_sound() { # plain | vlan
    for n in 1 2; do
        answer=$(get 192.0.2.1$n cgi-bin/who)
        case $answer in
            "server$n "*192.0.2.10*) ok "$1: server$n answers the client directly" ;;
            *) die "$1: server$n does not answer the client directly, but '$answer': the stage is broken, not lbd" ;;
        esac
        in_ns balancer ping -c 1 -W 2 198.51.100.1$n >/dev/null ||
            die "$1: the balancer does not reach the inside address of server$n: the stage is broken, not lbd"
        ok "$1: the balancer reaches the inside address of server$n"
    done
    for vip in 192.0.2.100 192.0.2.101; do
        if in_ns client arping -q -f -c 1 -w 1 -I eth0$outside $vip; then
            die "$1: somebody answers for $vip before lbd runs: the stage is broken, and would hide a broken lbd"
        fi
    done
    ok "$1: nobody answers at the VIPs yet"
    [ "$1" = vlan ] || return 0

    in_ns balancer timeout 20 tcpdump -p -l -n -e -c 1 -i p1 vlan 10 and tcp >$work/frame 2>$work/tcpdump &
    capture=$!
    for _ in $(seq 50); do
        grep -q 'listening on' $work/tcpdump && break
        sleep 0.1
    done
    get 192.0.2.11 cgi-bin/who >/dev/null
    wait $capture || die "vlan: no tagged frame on the wire to server1: the stage is broken, not lbd"
    ok "vlan: the frames on the wire carry their tag"
}

# through WHAT VIP: each of 20 connections is answered, by both servers, who see the client's own address;
# and 5 MB arrive as they were sent.
through() {
    seen1=0 seen2=0
    for i in $(seq 20); do
        answer=$(get "$2" cgi-bin/who)
        case $answer in
            "server1 "*192.0.2.10*) seen1=$((seen1 + 1)) ;;
            "server2 "*192.0.2.10*) seen2=$((seen2 + 1)) ;;
            *) fail "$1: connection $i of 20 was answered '$answer'"; return ;;
        esac
    done
    if [ $seen1 -eq 0 ] || [ $seen2 -eq 0 ]; then
        fail "$1: of 20 connections server1 had $seen1 and server2 had $seen2: one has none"
        return
    fi
    sum=$(get "$2" bulk | md5sum)
    if [ "$sum" != "$(md5sum <$work/www1/bulk)" ] && [ "$sum" != "$(md5sum <$work/www2/bulk)" ]; then
        fail "$1: 5 MB did not arrive as they were sent"
        return
    fi
    ok "$1: 20 connections ($seen1 and $seen2), and 5 MB whole"
}

# Waits until both VIPs answer. Probes, ARP and slow processors have their time; an lbd that ended, has not.
lbd_is_up() { # plain | vlan
    for _ in $(seq 60); do
        kill -0 $lbd 2>/dev/null || break
        if get 192.0.2.100 cgi-bin/who >/dev/null && get 192.0.2.101 cgi-bin/who >/dev/null; then return 0; fi
        sleep 1
    done
    if kill -0 $lbd 2>/dev/null; then
        fail "$1: lbd runs, but within 60 s not both VIPs answered"
    else
        fail "$1: lbd ended by itself"
    fi
    return 1
}

# The other variants of the program, which are loaded when somebody asks.
looks() { # plain | vlan
    said=$(in_ns balancer lbd console --run-dir $work/run explain translated web client 192.0.2.10 40000 2>&1)
    case $said in
        *'forwarded (to-server)'*'Server   inside'*) ok "$1: explain" ;;
        *) fail "$1: explain says: $said" ;;
    esac
    in_ns balancer lbd console --run-dir $work/run capture all network 192.0.2.0/24 seconds 15 >$work/capture 2>&1 &
    capturing=$!
    sleep 2
    through "$1, NAT, captured" 192.0.2.101
    wait $capturing
    read -r packets _ <$work/capture
    if [ "${packets:-0}" != 0 ] && grep -q ' packets, ' $work/capture; then
        ok "$1: capture of $packets packets"
    else
        fail "$1: capture says: $(cat $work/capture)"
    fi
}

show_trouble() {
    echo "--- the last lines of lbd's log:"
    tail -n 40 $work/lbd.log
    echo "--- XDP, neighbours and bridge in the balancer's namespace:"
    in_ns balancer ip -d link show | grep -E '^[0-9]+:|prog/xdp'
    in_ns balancer ip neigh show
    in_ns balancer bridge fdb show br br0 | grep -v permanent
}

run() { # plain | vlan
    work=/tmp/balance.$1
    mkdir -p $work/state $work/run
    # What the devices of the two networks are called after.
    if [ "$1" = vlan ]; then outside=.10 inside=.20; else outside='' inside=''; fi
    # In a subshell, so that `set -e` ends it at the first error.
    (build_stage "$1") >$work/stage.log 2>&1
    [ ! -s $work/stage.log ] || die "$1: the stage could not be built: $(cat $work/stage.log)"
    stage_is_sound "$1"

    if [ -z "$stage_only" ]; then
        before=$failures
        configuration >$work/lb.yaml
        start_lbd
        if lbd_is_up "$1"; then
            through "$1, DSR" 192.0.2.100
            through "$1, NAT" 192.0.2.101
            looks "$1"
            # The data plane outlives the daemon: it is pinned, and needs nobody.
            kill -KILL $lbd
            wait $lbd 2>/dev/null
            through "$1, DSR, lbd killed" 192.0.2.100
            through "$1, NAT, lbd killed" 192.0.2.101
            start_lbd
            if lbd_is_up "$1, lbd started again"; then
                through "$1, DSR, lbd started again" 192.0.2.100
                through "$1, NAT, lbd started again" 192.0.2.101
            fi
        fi
        [ "$failures" -eq $before ] || show_trouble
        kill -KILL $lbd 2>/dev/null
        wait $lbd 2>/dev/null
        rm -rf /sys/fs/bpf/* # the next variant is another network: it must not adopt what this one left
    fi
    for n in 1 2; do
        # By the directory they serve: only ours have it.
        for pid in $(ps -o pid,args | awk -v dir="$work/www$n" '$2 == "httpd" && index($0, dir) {print $1}'); do
            kill "$pid"
        done
    done
    for ns in client balancer server1 server2; do ip netns del $ns; done
}

stage_only='' variants=''
for argument; do
    case $argument in
        --stage) stage_only=yes ;;
        plain | vlan) variants="$variants $argument" ;;
        *) echo "usage: balance.sh [plain] [vlan] [--stage]"; exit 2 ;;
    esac
done
[ -n "$stage_only" ] || command -v lbd >/dev/null ||
    die "there is no /payload/lbd: put its path before the '--' of run.sh, as in 'run.sh target/release/lbd -- balance.sh'"
for variant in ${variants:-plain vlan}; do run "$variant"; done

if [ "$failures" -gt 0 ]; then
    echo "BALANCE FAILED: $failures checks, marked FAIL above"
    exit 1
fi
if [ -n "$stage_only" ]; then
    echo "the stage is sound on $(uname -r); lbd was not tested"
else
    echo "balance passed on $(uname -r)"
fi
