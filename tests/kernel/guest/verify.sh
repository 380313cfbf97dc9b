#!/bin/sh
# Does this kernel's verifier pass a BPF object? Loads each program of OBJECT; needs nothing of lbd itself.
#   run.sh --tool bpftool OBJECT -- verify.sh OBJECT        (OBJECT: what clang makes of src/dataplane/bpf/lbd.bpf.c)

[ $# -eq 1 ] || { echo "usage: verify.sh OBJECT (a file in /payload)"; exit 2; }
command -v bpftool >/dev/null || { echo "no bpftool in the guest: give run.sh '--tool bpftool'"; exit 2; }

pins=/sys/fs/bpf/verify
mkdir $pins
if ! bpftool --debug prog loadall "$1" $pins >/tmp/log 2>&1; then
    # What the verifier objects to is at its end; its start has the programs that went well.
    tail -n 80 /tmp/log
    echo "VERIFIER: $(uname -r) refuses $1: see the last instructions above"
    exit 1
fi
grep -E '^(processed|verification time)' /tmp/log
bpftool prog show | grep -A 1 -E '^[0-9]+: (xdp|sched_cls)'
echo "$(uname -r) accepts $1"
