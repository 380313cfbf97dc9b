#!/usr/bin/env bash
# Runs a command on Debian 12's own kernel (6.1), in a virtual machine without a network or a disk.
#
# lbd promises to run on Debian 12, and its data plane must pass the BPF verifier of that kernel, not of the one that
# the builder happens to have. qemu emulates the processor (TCG): it needs no /dev/kvm, and so runs in a container too.
#
# The machine has three serial lines, so that no two kinds of text can mix:
#   ttyS0  the kernel's console: kept in a file, shown when something went wrong
#   ttyS1  what COMMAND prints: copied to our standard output as it comes
#   ttyS2  how far the guest is, and COMMAND's exit status: one word a line, written by guest/init alone
set -euo pipefail

usage() {
    cat <<'EOF'
usage: run.sh [OPTION...] [PAYLOAD...] -- COMMAND [ARGUMENT...]

Boots Debian 12's 6.1 kernel, runs COMMAND there as root, and exits with its exit status.

PAYLOAD is a file, which becomes /payload/NAME in the guest, or a directory, whose contents go into /payload.
Programs bring their shared libraries with them. COMMAND starts in /payload; the scripts of tests/kernel/guest
are in /guest; both are in the PATH.

  --timeout SECONDS      how long COMMAND may run (120)
  --boot-timeout SECONDS how long the guest may take until it starts COMMAND (90)
  --kernel-package NAME  the kernel (the newest linux-image-6.1.0-*-cloud-amd64; one in the cache is preferred)
  --module NAME          one more kernel module, loaded before COMMAND runs; may be repeated
  --tool PROGRAM         one more program of this machine for the guest; may be repeated
  --memory MEGABYTES     memory of the guest (1024 and what the payload takes)
  --cpus N               processors of the guest (2)
  --console FILE         keep the kernel's console in FILE
  --verbose              show the kernel's console on standard error as it comes

Exit status: COMMAND's own. Else 124: a time limit was reached; 125: the guest could not be built or started, or it
died before COMMAND had ended; 2: wrong usage. A line on standard error that begins with "run.sh:" says which.

The kernel is kept in target/kernel61 (or $KERNEL61_CACHE) of this source tree: remove that directory to fetch
the newest one again.
EOF
}

say()  { printf 'run.sh: %s\n' "$*" >&2; }
die()  { say "$@"; exit 125; }
misuse() { say "$@" "(run.sh --help shows the usage)"; exit 2; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${KERNEL61_CACHE:-$(cd "$here/../.." && pwd)/target/kernel61}

# What lbd and its tests use. The kernel would load most of them by itself on first use; they are named here so that
# one that is missing is reported before the boot, by name, and not as an odd error of some `ip link add`.
modules=(veth bridge 8021q dummy sch_netem sch_ingress cls_bpf ip_vs ip_vs_rr ip_vs_wrr ip_vs_mh)

# Real tools where busybox's know less; all else is busybox. Its shell, and each applet that starts another program
# (`timeout 5 ip ...`), would take its own `ip` before the real one, whatever the PATH says: so those are real too.
# Busybox's modprobe knows no soft dependencies: in the kernel that is not the cloud one, ip_vs has some.
tools=(ip bridge tc ss ethtool tcpdump modprobe dash env nohup nsenter setsid timeout unshare xargs)

# ---------------------------------------------------------------------------------------------- the command line

time_limit=120 boot_limit=90 kernel_package='' memory='' cpus=2 console_copy='' verbose=''
payload=() command=()

number() { # OPTION VALUE
    [[ $2 =~ ^[1-9][0-9]{0,5}$ ]] || misuse "$1 wants a whole number above 0, not '$2'"
    printf '%s' "$2"
}

while (($#)); do
    case $1 in
        --timeout | --boot-timeout | --kernel-package | --module | --tool | --memory | --cpus | --console)
            (($# > 1)) || misuse "$1 wants a value after it"
            case $1 in
                --timeout) time_limit=$(number "$1" "$2") ;;
                --boot-timeout) boot_limit=$(number "$1" "$2") ;;
                --kernel-package) kernel_package=$2 ;;
                --module) modules+=("$2") ;;
                --tool) tools+=("$2") ;;
                --memory) memory=$(number "$1" "$2") ;;
                --cpus) cpus=$(number "$1" "$2") ;;
                --console) console_copy=$2 ;;
            esac
            shift 2 ;;
        --verbose) verbose=yes; shift ;;
        -h | --help) usage; exit 0 ;;
        --) shift; command=("$@"); break ;;
        -*) misuse "there is no option '$1'" ;;
        *) payload+=("$1"); shift ;;
    esac
done
((${#command[@]})) || misuse "no COMMAND: put it after '--', as in 'run.sh -- /guest/smoke.sh'"
for p in "${payload[@]}"; do
    [[ -r $p ]] || misuse "payload '$p' does not exist or cannot be read: build it first, or correct the path"
done
if [[ -n $console_copy ]]; then
    : 2>/dev/null >"$console_copy" || misuse "cannot write '$console_copy': name a file in a directory that exists"
fi

# ------------------------------------------------------------------------------ leave nothing behind, come what may

work='' qemu='' printer='' follower='' fetching=''
cleanup() {
    trap '' INT TERM HUP
    local pid
    for pid in $qemu $follower $printer; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    [[ -z $work ]] || rm -rf "$work"
    [[ -z $fetching ]] || rm -rf "$fetching"
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# ------------------------------------------------------------------------------------ what this machine must have

[[ $(uname -m) = x86_64 ]] ||
    die "the guest runs this machine's own programs on an amd64 kernel, and this machine is $(uname -m): use an amd64 one"

# program:package, for each thing that may be missing on a fresh Debian.
needs=(qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio depmod:kmod modprobe:kmod ip:iproute2
       ethtool:ethtool tcpdump:tcpdump nsenter:util-linux setpriv:util-linux)
PATH=$PATH:/usr/sbin:/sbin # modprobe and its like, which are not in an ordinary user's PATH

missing_packages() {
    local need
    for need in "${needs[@]}"; do
        command -v "${need%%:*}" >/dev/null || printf '%s\n' "${need#*:}"
    done
    # The other busybox package has the same program, linked to libc and with fewer applets.
    if command -v busybox >/dev/null && ldd "$(command -v busybox)" >/dev/null 2>&1; then
        printf 'busybox-static\n'
    fi
}

mapfile -t missing < <(missing_packages | sort -u)
if ((${#missing[@]})); then
    install=(apt-get install --yes --no-install-recommends "${missing[@]}")
    command -v apt-get >/dev/null ||
        die "missing here: ${missing[*]} (Debian's names), and there is no apt-get: install them, or use a Debian machine"
    ((EUID == 0)) || die "missing here: ${missing[*]}. As root: ${install[*]}"
    say "installing ${missing[*]}"
    # A new machine has no package lists yet, or lists that name versions which the mirror no longer has.
    log=$({ DEBIAN_FRONTEND=noninteractive "${install[@]}" ||
        { apt-get update && DEBIAN_FRONTEND=noninteractive "${install[@]}"; }; } 2>&1 </dev/null) || {
        printf '%s\n' "$log" | tail -n 15 >&2
        die "could not install ${missing[*]}: see apt's messages above, and run it by hand: ${install[*]}"
    }
fi

# -------------------------------------------------------------------------------------------------- the kernel

# The cloud kernel is the same source with fewer drivers, a third of the size, and has all that lbd needs.
kernel_pattern='linux-image-6\.1\.0-[0-9]+-cloud-amd64'

newest() { grep -Ex "$kernel_pattern" | sort -V | tail -n 1; }

if [[ -z $kernel_package && -d $cache ]]; then
    # shellcheck disable=SC2012 # package names have no odd characters
    kernel_package=$(ls "$cache" | newest || true)
fi
if [[ -z $kernel_package ]]; then
    command -v apt-cache >/dev/null ||
        die "no kernel in $cache, and no apt to fetch one with: run this on Debian 12, or copy that directory from one"
    kernel_package=$(apt-cache pkgnames linux-image-6.1.0- | newest || true)
    if [[ -z $kernel_package ]] && ((EUID == 0)); then
        say "apt knows no 6.1 kernel: apt-get update"
        apt-get update >/dev/null || die "apt-get update failed: see its messages above"
        kernel_package=$(apt-cache pkgnames linux-image-6.1.0- | newest || true)
    fi
    [[ -n $kernel_package ]] ||
        die "apt knows no package like linux-image-6.1.0-*-cloud-amd64: run apt-get update as root; on a system other than" \
            "Debian 12 add Debian 12 (bookworm) to apt's sources"
fi

kernel_directory=$cache/$kernel_package
if [[ ! -d $kernel_directory ]]; then
    say "fetching $kernel_package"
    mkdir -p "$cache" || die "cannot make $cache: set KERNEL61_CACHE to a directory that you may write to"
    fetching=$(mktemp -d "$cache/.fetching.XXXXXX")
    # As root apt would drop to a user of its own, who often may not write here, and then warn of it.
    sandbox=()
    ((EUID != 0)) || sandbox=(-o APT::Sandbox::User=root)
    log=$(cd "$fetching" && { apt-get "${sandbox[@]}" download "$kernel_package" ||
        { ((EUID == 0)) && apt-get update && apt-get "${sandbox[@]}" download "$kernel_package"; }; } 2>&1) || {
        printf '%s\n' "$log" | tail -n 5 >&2
        die "could not fetch $kernel_package: run apt-get update as root, check that this machine reaches its Debian mirror," \
            "and see 'apt-cache pkgnames linux-image-6.1.0-' for the names that exist"
    }
    dpkg-deb --extract "$fetching"/*.deb "$fetching/tree" || die "the package of $kernel_package is damaged: try again"
    release=$(ls "$fetching/tree/lib/modules" 2>/dev/null || true)
    [[ -n $release && -f $fetching/tree/boot/vmlinuz-$release ]] ||
        die "$kernel_package holds no kernel: name a linux-image-6.1.0-NUMBER-amd64 or -cloud-amd64 package, no meta package"
    mkdir -p "$fetching/kernel/lib/modules"
    mv "$fetching/tree/boot/vmlinuz-$release" "$fetching/kernel/vmlinuz"
    mv "$fetching/tree/boot/config-$release" "$fetching/kernel/config"
    mv "$fetching/tree/lib/modules/$release" "$fetching/kernel/lib/modules/"
    depmod -b "$fetching/kernel" "$release" || die "depmod failed on $kernel_package: see its message above"
    # Whole or not at all, so that an interrupted run leaves no half a kernel to be re-used. Another run may have
    # been quicker: then its directory is the one.
    mv -T "$fetching/kernel" "$kernel_directory" 2>/dev/null || [[ -f $kernel_directory/vmlinuz ]] ||
        die "could not put the kernel into $kernel_directory: remove that directory and try again"
    rm -rf "$fetching"
    fetching=''
fi
release=$(ls "$kernel_directory/lib/modules" 2>/dev/null || true)
[[ -n $release && -f $kernel_directory/vmlinuz ]] ||
    die "$kernel_directory is not complete: remove it and try again"

# ----------------------------------------------------------------------------------- the guest's file system

work=$(mktemp -d -t lbd-kernel61.XXXXXX)
root=$work/root
mkdir -p "$root"/{dev,proc,sys,run,tmp,root,etc,var,payload,guest,usr/{bin,sbin,lib,lib64}}
# Merged /usr as on Debian 12: a library is found by either path.
for d in bin sbin lib lib64; do ln -s "usr/$d" "$root/$d"; done
ln -s dash "$root/bin/sh"
ln -s ../bin/modprobe "$root/sbin/modprobe" # where the kernel looks for it when it wants a module
ln -s /run "$root/var/run"
ln -s /proc/mounts "$root/etc/mtab"

is_elf() { [[ $(head -c 4 "$1" | tail -c 3) = ELF ]]; }

copy_libraries() { # PROGRAM: the shared libraries it needs, to where the loader looks for them
    local program=$1 line path
    is_elf "$program" || return 0
    while read -r line; do
        case $line in
            *'not found'*)
                die "$program needs ${line%% *}, which is not on this machine: install the package that has it" ;;
            *'=> /'*) path=${line#*=> } path=${path% (*} ;;
            /*) path=${line% (*} ;;
            *) continue ;; # the kernel's own (linux-vdso), or 'statically linked'
        esac
        [[ -e $root$path ]] || install -D "$path" "$root$path"
    done < <(ldd "$program" 2>/dev/null || true)
}

cp "$(command -v busybox)" "$root/bin/busybox"
for tool in "${tools[@]}"; do
    path=$(command -v "$tool") || die "there is no program '$tool' on this machine to put into the guest: install its package"
    install "$path" "$root/usr/bin/${tool##*/}"
    copy_libraries "$path"
done

cp "$here"/guest/* "$root/guest/"
mv "$root/guest/init" "$root/init"
chmod 755 "$root/init" "$root"/guest/*

for p in "${payload[@]}"; do
    if [[ -d $p ]]; then
        cp -RL "$p/." "$root/payload/"
    else
        [[ ! -e $root/payload/${p##*/} ]] || misuse "two payloads are named '${p##*/}': rename one"
        cp -L "$p" "$root/payload/"
    fi
done
while IFS= read -r -d '' file; do copy_libraries "$file"; done < <(find "$root/payload" -type f -print0)

# tcpdump gives up root for a user of its name; the rest is what programs expect to find.
printf '%s\n' root:x:0:0:root:/root:/bin/sh tcpdump:x:100:100::/tmp:/bin/false \
    nobody:x:65534:65534:nobody:/nonexistent:/bin/false >"$root/etc/passwd"
printf '%s\n' root:x:0: tcpdump:x:100: nogroup:x:65534: >"$root/etc/group"
printf '%s\n' '127.0.0.1 localhost' '::1 localhost' '127.0.1.1 kernel61' >"$root/etc/hosts"

# COMMAND as a script, so that each argument arrives as it was given, blanks and quotes included.
{
    printf 'cd /payload\nexec'
    for argument in "${command[@]}"; do printf " '%s'" "${argument//\'/\'\\\'\'}"; done
    printf '\n'
} >"$root/etc/command"

# The modules, and what they depend on: hard dependencies and soft ones alike, which modprobe knows.
guest_modules=$root/lib/modules/$release
mkdir -p "$guest_modules"
for module in "${modules[@]}"; do
    modprobe --config /dev/null -d "$kernel_directory" -S "$release" --show-depends "$module" 2>"$work/modprobe" ||
        die "the kernel of $kernel_package has no module '$module': leave it out, or take a kernel with more drivers" \
            "(--kernel-package linux-image-6.1.0-NUMBER-amd64)"
done >"$work/dependencies"
sed -n 's/^insmod \([^ ]*\).*/\1/p' "$work/dependencies" | sort -u >"$work/module-files"
while read -r file; do
    # Where the module lies below lib/modules/RELEASE is what depmod and modprobe go by.
    install -m 644 -D "$file" "$guest_modules/${file#*"/lib/modules/$release/"}"
done <"$work/module-files"
cp "$kernel_directory/lib/modules/$release/"modules.{builtin,builtin.modinfo,order} "$guest_modules/"
depmod -b "$root" "$release" 2>/dev/null
printf '%s\n' "${modules[@]}" >"$root/etc/modules"

# Not compressed: to unpack it in the emulated processor takes longer than to read it.
(cd "$root" && find . -print0 | cpio --null --create --format=newc --owner=0:0 --quiet) >"$work/initramfs"
size=$(($(stat -c %s "$work/initramfs") >> 20))
rm -rf "$root"
: "${memory:=$((1024 + 2 * size))}" # the archive, and its contents, are both in memory for a while

# ------------------------------------------------------------------------------------------------- the guest

mkfifo "$work/output"
: >"$work/status"
: >"$work/console"
cat "$work/output" &
printer=$!
if [[ -n $verbose ]]; then
    tail -n +1 -f "$work/console" >&2 2>/dev/null &
    follower=$!
fi

# A panic or an oops ends the machine at once (panic=-1, and no reboot), and so shows as a guest that died.
# pdeathsig: should this script be killed by force, qemu does not stay behind.
# tsc=reliable: the emulated processors share one clock, but as a processor that is not Intel's they are not believed, and
# the kernel falls back to a clock that takes four times as long to read, as the data plane does for every packet.
# la57 off: with five levels of page tables, every access to memory costs the emulator more.
setpriv --pdeathsig KILL qemu-system-x86_64 \
    -machine pc -accel tcg,thread=multi -cpu max,la57=off -smp "$cpus" -m "$memory" \
    -nodefaults -no-user-config -display none -no-reboot -nic none \
    -kernel "$kernel_directory/vmlinuz" -initrd "$work/initramfs" \
    -append 'console=ttyS0 panic=-1 oops=panic tsc=reliable' \
    -serial "file:$work/console" -serial "file:$work/output" -serial "file:$work/status" \
    </dev/null >"$work/qemu" 2>&1 &
qemu=$!

ended() { ! kill -0 "$qemu" 2>/dev/null; }

# wait_for PATTERN SECONDS: until the guest has said PATTERN on its status line. 1: it died; 2: out of time.
# -a: a port that comes up may utter a byte that is no text.
wait_for() {
    local end=$((SECONDS + $2))
    until grep -aEqx "$1" "$work/status"; do
        if ended; then
            grep -aEqx "$1" "$work/status" || return 1
            return 0
        fi
        ((SECONDS < end)) || return 2
        sleep 0.1
    done
}

post_mortem() {
    say "the last lines of the guest's console:"
    tail -n 40 "$work/console" | tr -d '\r' | sed 's/^/    /' >&2
    if [[ -s $work/qemu ]]; then
        say "qemu said:"
        tail -n 10 "$work/qemu" | sed 's/^/    /' >&2
    fi
}

# The guest has said its last word and switches itself off: a moment for that, so that all of its text is out.
let_it_end() {
    local i
    for ((i = 0; i < 100; i++)); do
        if ended; then break; fi
        sleep 0.1
    done
}

# Ends the guest and lets the last of its output through; then nothing is left for cleanup() but the files.
finish() {
    kill -KILL "$qemu" 2>/dev/null || true
    wait "$qemu" 2>/dev/null || true
    qemu=''
    # The pipe has lost its writer, so that the printer comes to an end: unless whoever reads our output does not.
    wait "$printer" 2>/dev/null || true
    printer=''
    [[ -z $console_copy ]] || tr -d '\r' <"$work/console" >"$console_copy" || true
}

fail() { # STATUS MESSAGE...: the guest did not do what it should
    local status=$1
    shift
    finish
    post_mortem
    say "$@"
    exit "$status"
}

result=0
wait_for 'run|failed' "$boot_limit" || result=$?
case $result in
    1) fail 125 "the guest died before it could start COMMAND: its console, above, should say why" ;;
    2) fail 124 "the guest did not start COMMAND within $boot_limit s: see its console above; on a busy machine give it" \
        "more with --boot-timeout" ;;
esac
if grep -aqx failed "$work/status"; then
    let_it_end
    fail 125 "the guest could not be prepared: its console, above, says what is wrong, at the end"
fi
say "$release is up after $SECONDS s; running: ${command[*]}"

result=0
wait_for 'exit [0-9]+ end' "$time_limit" || result=$?
case $result in
    1) fail 125 "the guest died while COMMAND ran: its console, above, should say why (a panic of the kernel?)" ;;
    2) fail 124 "COMMAND did not end within $time_limit s: it hangs, or needs more (--timeout SECONDS)" ;;
esac
status=$(sed -n 's/^exit \([0-9]*\) end$/\1/p' "$work/status" | tail -n 1)

let_it_end
finish

# A warning of the kernel is no failure of COMMAND, but whoever changes the data plane wants to know.
sed -n '/lbd-guest: COMMAND starts/,$p' "$work/console" | tr -d '\r' |
    grep -aE -A 25 'BUG:|WARNING:|soft lockup|rcu.*stall|blocked for more than' >"$work/complaints" || true
if [[ -s $work/complaints ]]; then
    say "COMMAND ended, but the kernel complained meanwhile:"
    head -n 60 "$work/complaints" | sed 's/^/    /' >&2
fi
say "COMMAND exited with $status after $SECONDS s in all"
exit "$status"
