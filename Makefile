# The two commands: `make lab` shows the balancer at work, `make test` proves that it works.
# Each installs what it needs on a fresh Debian 12 machine with Rust and gcc. Both need root.

CARGO ?= cargo
RELEASE = target/release/lbd

.PHONY: help lab lab-real record test bench bench-probes bench-detection bench-sync bench-pair bench-scrape pictures build check fuzz

help:
	@echo "make lab      build, set up the site on this machine, and play a tour of it"
	@echo "make lab-real the same with the true software: Exim, Courier, Apache, FreeRADIUS, BIND"
	@echo "make record   type the documentation's sessions in the lab, and write them into docs"
	@echo "make test     all tests, also on Debian 12's own kernel (under qemu)"
	@echo "make bench    what a packet costs, and what a table of a million connections does"
	@echo "make bench-probes  what it costs to ask 10,000 servers every 2 s, beside HAProxy"
	@echo "make bench-detection  how long real servers' faults take to be found, 20 of each kind"
	@echo "make bench-sync  what it costs to keep a standby told of a million connections"
	@echo "make bench-scrape  what a scrape of the metrics of 1,000 services and 1,000 servers costs"
	@echo "make pictures the status page, as pictures for the documentation"
	@echo "make bench-pair  what customers notice of each fault of a pair, 100 times each (TRIALS=100), with 5,000 connections open"
	@echo "make fuzz     SECONDS=60: what hostile servers can send to each probe, for so long each"
	@echo "make build    the program, as $(RELEASE)"

# On a terminal the lab stays up after the tour, with hints on what to try.
lab:
	@tools/setup.sh lab
	$(CARGO) build --release
	@if [ -t 0 ] && [ -t 1 ]; then $(RELEASE) lab --tour --stay; else $(RELEASE) lab --tour; fi

lab-real:
	@tools/setup.sh lab
	$(CARGO) build --release
	@if [ -t 0 ] && [ -t 1 ]; then $(RELEASE) lab --servers real --tour --stay; else $(RELEASE) lab --servers real --tour; fi

record:
	@tools/setup.sh lab
	$(CARGO) build --release
	$(RELEASE) lab --record docs

test:
	@tools/setup.sh test
	$(CARGO) build
	$(CARGO) test
	tests/schemathesis/run.sh target/debug/lbd
	tests/kernel/run.sh --timeout 600 target/debug/lbd -- balance.sh

bench:
	@tools/setup.sh bench
	$(CARGO) bench --bench dataplane --bench sweep --bench forward

bench-probes:
	@tools/setup.sh bench
	$(CARGO) bench --bench probes

bench-detection:
	@tools/setup.sh lab
	$(CARGO) build --release
	$(RELEASE) lab --servers real --faults 20

bench-sync:
	@tools/setup.sh test
	$(CARGO) bench --bench sync

bench-scrape:
	@tools/setup.sh lab
	$(CARGO) bench --bench scrape

pictures:
	@tools/setup.sh test
	LBD_PICTURES=$(CURDIR)/docs/images $(CARGO) test --test page

TRIALS ?= 100
bench-pair:
	@tools/setup.sh lab
	$(CARGO) bench --bench pair -- --trials $(TRIALS)

SECONDS ?= 60
fuzz:
	SECONDS_EACH=$(SECONDS) fuzz/run.sh

build:
	@tools/setup.sh build
	$(CARGO) build --release

check:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
