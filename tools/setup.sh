#!/bin/sh
# Makes a Debian 12 machine able to build and test lbd: installs the packages that it lacks, and says in
# one line what else is missing. `setup.sh build` is enough to compile; `setup.sh test` and `setup.sh lab`
# also need root and a kernel that the data plane can run on, and so does `setup.sh bench`, which installs what the
# benches compare with. `setup.sh real` installs only what `lbd lab --servers real` runs; that command does it by
# itself, with this script built in.
set -eu

need=${1:-build}
build="gcc make clang libelf-dev zlib1g-dev libbpf-dev linux-libc-dev pkg-config"
lab="iproute2 ethtool procps util-linux openssh-client"
# Servers, and the clients that show that they serve.
# Clients of the command line.
ssh="putty-tools python3-pexpect python3-paramiko python3-netmiko ssh-audit"
real="exim4-daemon-light courier-pop courier-imap courier-authdaemon apache2 freeradius bind9 openssl swaks libnet-ssleay-perl libio-socket-inet6-perl curl freeradius-utils bind9-dnsutils"
# Where the log goes, and who reads the objects.
monitor="rsyslog rsyslog-gnutls snmpd snmp snmptrapd mrtg"
# A browser that looks at the status page.
page="chromium chromium-driver python3-selenium fonts-liberation"
test="python3-venv tcpdump tshark nftables bpftool prometheus qemu-system-x86 busybox-static cpio kmod $ssh $monitor $page $real"
bench="nftables haproxy"
case $need in
build) packages=$build ;;
lab) packages="$build $lab" ;;
test) packages="$build $lab $test" ;;
bench) packages="$build $lab $bench" ;;
real) packages=$real ;;
*) echo "setup: unknown word '$need'; use build, lab, test, bench or real" >&2; exit 2 ;;
esac

fail() {
	echo "setup: $*" >&2
	exit 1
}

if [ "$need" != real ]; then
	command -v cargo >/dev/null || fail "cargo is missing: install Rust 1.95 or newer (rustup), and open a new shell"
	wanted=1.95
	version=$(rustc --version | cut -d' ' -f2)
	[ "$(printf '%s\n%s\n' "$wanted" "$version" | sort -V | head -n1)" = "$wanted" ] ||
		fail "Rust $version is too old: lbd needs $wanted or newer (rustup update stable)"
fi

missing=
for package in $packages; do
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
	[ "$(id -u)" = 0 ] || fail "Debian packages are missing; as root: apt-get install$missing"
	echo "setup: installing$missing"
	apt-get update -qq || fail "apt-get update failed: is there a network to the package archive?"
	# Debian starts the servers that it installs (prometheus, exim); here only their programs are wanted. A
	# policy that the machine has already stays.
	policy=/usr/sbin/policy-rc.d
	made_policy=
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod +x $policy
		made_policy=$policy
		trap 'rm -f "$made_policy"' EXIT
		trap 'exit 130' INT TERM HUP
	fi
	installed=yes
	# shellcheck disable=SC2086 # a list of words
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null || installed=no
	[ -z "$made_policy" ] || rm -f "$made_policy"
	trap - EXIT INT TERM HUP
	[ $installed = yes ] || fail "apt-get could not install:$missing"
fi
case $need in build | real) exit 0 ;; esac

[ "$(id -u)" = 0 ] || fail "root is needed: lab and tests make network namespaces and load XDP programs (sudo make $need)"
kernel=$(uname -r | cut -d- -f1)
oldest=5.18
[ "$(printf '%s\n%s\n' "$oldest" "$kernel" | sort -V | head -n1)" = "$oldest" ] ||
	fail "Linux $kernel is too old: the data plane needs $oldest or newer (bpf_loop, XDP links); Debian 12 has 6.1"
capabilities=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
# CAP_NET_ADMIN is 12, CAP_SYS_ADMIN 21, CAP_BPF 39.
for bit in 12:CAP_NET_ADMIN 21:CAP_SYS_ADMIN 39:CAP_BPF; do
	# The last 10 hexadecimal digits hold bits 0 to 39.
	low=$(printf '%s' "$capabilities" | tail -c 10)
	[ $((0x$low >> ${bit%%:*} & 1)) = 1 ] ||
		fail "${bit##*:} is missing: run on the machine itself, or in a container with --privileged"
done
probe=lbd-setup-$$
ip netns add "$probe" 2>/dev/null || fail "network namespaces cannot be made (CONFIG_NET_NS)"
trap 'ip netns del "$probe" 2>/dev/null || true' EXIT
ip -n "$probe" link add v0 type veth peer name v1 2>/dev/null || fail "veth is missing: CONFIG_VETH (modprobe veth)"
ip -n "$probe" link add b0 type bridge 2>/dev/null || fail "bridge is missing: CONFIG_BRIDGE (modprobe bridge)"
[ -r /sys/kernel/btf/vmlinux ] || fail "/sys/kernel/btf/vmlinux is missing: CONFIG_DEBUG_INFO_BTF"
