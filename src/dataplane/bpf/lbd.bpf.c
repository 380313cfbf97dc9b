// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/* The way of a packet. One program on every port; docs/dataplane.md has the picture. */
#include "base.h"
#include "parse.h"
#include "rewrite.h"
#include "flows.h"
#include "schedule.h"
#include "answer.h"
#include "clients.h"
#include "forward.h"
#include "icmp.h"
#include "lease.h"
#include "restore.h"
#include "probe.h"
#include "tap.h"

/* Carries the shared types into the object's BTF, from which Rust's are generated. */
struct lbd_types {
	struct port port;
	struct addr_info addr_info;
	struct service_key service_key;
	struct service service;
	struct dest dest;
	struct conns conns;
	struct traffic traffic;
	struct flow_key flow_key;
	struct flow flow;
	struct rflow rflow;
	struct persist_key persist_key;
	struct persist persist;
	struct member_key member_key;
	struct active_key active_key;
	struct migrant_key migrant_key;
	struct snat snat;
	struct prefix_key prefix_key;
	struct control control;
	struct ownership ownership;
	struct question question;
	struct seen_mac seen_mac;
	struct work work;
	struct name_key name_key;
	struct name name;
	struct embryo embryo;
	struct embryo_set embryo_set;
	struct probe_place probe_place;
	struct sync_entry sync_entry;
	struct sync_lost sync_lost;
	struct restore restore;
	struct fate fate;
	struct tap_filter tap_filter;
	struct tap_head tap_head;
	struct talker_key talker_key;
	struct talker talker;
	enum reason reason;
};
const volatile struct lbd_types lbd_types = {};

static __always_inline bool is_ours(struct xdp_md *ctx, const struct pkt *p)
{
	struct ethhdr *eth = at(ctx, 0, sizeof(*eth));

	return eth && same_mac(eth->h_dest, p->own);
}

static __always_inline int for_vip(struct xdp_md *ctx, struct pkt *p, __u32 vip)
{
	if (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP)
		return to_vip(ctx, p, vip);
	if (p->protocol == (p->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6)) {
		if (p->fragment != FRAGMENT_NONE) /* a ping that would have to be put together first */
			return give_up(p, REASON_DROP_FRAGMENT);
		if (is_icmp_error(p))
			return icmp_to_server(ctx, p, vip);
		return counted(REASON_PASS_OTHER, XDP_PASS);
	}
	return give_up(p, REASON_DROP_PROTOCOL);
}

/* A reply in NAT, or anything else that a server sends through us. */
static __always_inline int maybe_from_server(struct xdp_md *ctx, struct pkt *p, __u32 local, bool snat)
{
	if (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP) {
		struct flow_key key;

		if (snat) {
			key.peer = p->src;
			key.peer_port = p->sport;
			key.port = p->dport;
		} else {
			key.peer = p->dst;
			key.peer_port = p->dport;
			key.port = p->sport;
		}
		key.local = local | (p->protocol == IPPROTO_UDP ? LBD_LOCAL_UDP : 0);
		return from_server(ctx, p, &key);
	}
	if (p->protocol == (p->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6) && is_icmp_error(p) &&
	    p->fragment != FRAGMENT_LATER)
		return icmp_to_client(ctx, p, local);
	return NEXT;
}

static __always_inline int serve(struct xdp_md *ctx)
{
	__u32 ingress = ctx->ingress_ifindex;
	struct port *port = bpf_map_lookup_elem(&ports, &ingress);
	struct control *c = the_control();
	struct addr_info *info;
	__u32 zero = 0;
	struct pkt *p = bpf_map_lookup_elem(&packet, &zero);
	int verdict, window = WINDOW_NONE;

	tell_begin();
	if (!port || !c || !p)
		return counted(REASON_PASS_PORT, XDP_PASS);
	if (!(port->flags & LBD_PORT_FORWARDING))
		return maybe_question(ctx, REASON_PASS_PORT);
	if (!owns(c)) {
		window = window_now();
		if (window == WINDOW_NONE)
			return maybe_question(ctx, REASON_PASS_NOT_OWNER);
	}
	__builtin_memset(p, 0, sizeof(*p));
	p->window = window;
	p->ingress = ingress;
	p->now = bpf_ktime_get_coarse_ns();
	__builtin_memcpy(p->own, port->mac, 6);
	switch (parse(ctx, p)) {
	case PARSED:
		break;
	case PARSED_ARP:
		return p->window ? counted(REASON_PASS_NOT_OWNER, XDP_PASS) : answer_arp(ctx, p);
	case PARSED_MALFORMED:
		return counted(REASON_PASS_MALFORMED, XDP_PASS);
	case PARSED_LOST:
		info = bpf_map_lookup_elem(&addrs, &p->dst);
		if (info && info->roles & LBD_ADDR_VIP)
			return give_up(p, REASON_DROP_FRAGMENT);
		return counted(REASON_PASS_OTHER, XDP_PASS);
	default:
		return maybe_question(ctx, REASON_PASS_OTHER);
	}
	if (IS_TAPPED)
		tap_keep(ctx, p);
	if (p->family == 6 && p->protocol == IPPROTO_ICMPV6 && p->icmp_type == ND_SOLICIT &&
	    p->fragment == FRAGMENT_NONE)
		return p->window ? counted(REASON_PASS_NOT_OWNER, XDP_PASS) : answer_nd(ctx, p);
	if (!is_ours(ctx, p))
		return counted(REASON_PASS_SWITCHED, XDP_PASS);
	if (p->window) {
		p->relayed = is_relayed(p);
		count(REASON_SERVED_LATE);
	}

	info = bpf_map_lookup_elem(&addrs, &p->dst);
	if (info) {
		if (info->roles & (LBD_ADDR_VIP | LBD_ADDR_INSIDE | LBD_ADDR_SNAT) && p->fragment == FRAGMENT_NONE &&
		    ((p->protocol == IPPROTO_ICMP && p->family == 4 && p->icmp_type == ICMPV4_ECHO) ||
		     (p->protocol == IPPROTO_ICMPV6 && p->family == 6 && p->icmp_type == ICMPV6_ECHO)))
			return p->window == WINDOW_KNOWN ? counted(REASON_PASS_NOT_OWNER, XDP_PASS) : answer_echo(ctx, p);
		if (info->roles & LBD_ADDR_VIP)
			return for_vip(ctx, p, info->vip);
		if (info->roles & LBD_ADDR_SNAT) {
			verdict = maybe_from_server(ctx, p, LBD_LOCAL_SNAT | info->snat, true);
			if (verdict != NEXT)
				return verdict;
		}
	}
	info = bpf_map_lookup_elem(&addrs, &p->src);
	if (info && info->roles & LBD_ADDR_SERVER) {
		verdict = maybe_from_server(ctx, p, LBD_LOCAL_SERVER | info->server, false);
		if (verdict != NEXT)
			return verdict;
	}
	return counted(REASON_PASS_OTHER, XDP_PASS);
}

SEC("xdp")
int lbd_xdp(struct xdp_md *ctx)
{
	int verdict = serve(ctx);

	if (IS_TAPPED)
		tap_tell(verdict);
	return verdict;
}

/* -- housekeeping, run by the daemon with BPF_PROG_TEST_RUN: the frame is a struct work -- */

static long reap_one(__u32 i, void *context)
{
	struct work *w = context;
	struct flow_key *listed = bpf_map_lookup_elem(&reap_keys, &i);
	struct flow_key key;
	struct flow *f;
	struct dest *d;
	__u32 dest;

	if (!listed)
		return 1;
	key = *listed;
	f = bpf_map_lookup_elem(&flows, &key);
	if (!f)
		return 0;
	dest = f->dest;
	d = bpf_map_lookup_elem(&dests, &dest);
	if (!d || (w->force == LBD_REAP_EXPIRED && !flow_expired(&key, f, d, w->now)))
		return 0;
	if (w->force == LBD_REAP_DOWN && !(d->flags & LBD_DEST_DOWN))
		return 0;
	if (w->force == LBD_REAP_DOWN && d->mode == LBD_MODE_DSR && !(key.local & LBD_LOCAL_UDP)) {
		/* It stays for `closed`: a client that was not told is told at its next packet, which would go to
		 * another server by the hash. So does one that was reset before, perhaps by a RST that was lost. */
		if (f->state & (LBD_FLOW_CLIENT_RST | LBD_FLOW_SERVER_RST)) {
			if (f->state & LBD_FLOW_SYNCED)
				__sync_fetch_and_and(&f->state, ~LBD_FLOW_SYNCED);
			return 0;
		}
		flow_end(&key, f, true, w->now);
	} else {
		flow_remove(&key, f, d, !w->force);
	}
	w->done++;
	return 0;
}

/* Removes the listed flows that have expired, or ends those whose destinations are down. Checked here, next to the deletion: a flow that came to life
 * meanwhile, or one that has followed under the same key, stays. */
SEC("xdp")
int lbd_reap(struct xdp_md *ctx)
{
	struct work *frame = at(ctx, 0, sizeof(*frame));
	struct work w;

	if (!frame)
		return XDP_ABORTED;
	w = *frame;
	w.now = bpf_ktime_get_coarse_ns();
	w.done = 0;
	bpf_loop(w.count, reap_one, &w, 0);
	frame = at(ctx, 0, sizeof(*frame));
	if (frame)
		frame->done = w.done;
	return XDP_PASS;
}

/* The destination of a handshake, when it is down: its client's next packet is for another. */
static __always_inline __u32 failed_embryo(const struct embryo *e)
{
	__u32 dest = e->flow.dest;
	struct dest *d;

	if (is_reverse(&e->key))
		return LBD_DEST_NONE;
	d = bpf_map_lookup_elem(&dests, &dest);
	return d && d->flags & LBD_DEST_DOWN ? dest : LBD_DEST_NONE;
}

static long sweep_set(__u32 i, void *context)
{
	struct work *w = context;
	__u32 index = w->first + i;
	struct embryo_set *set = bpf_map_lookup_elem(&embryos, &index);
	int way;

	if (!set)
		return 1;
#pragma unroll
	for (way = 0; way < LBD_EMBRYO_WAYS; way++) {
		__u32 lost = LBD_DEST_NONE, failed = LBD_DEST_NONE;
		__u64 expires = set->way[way].expires;

		if (!expires)
			continue;
		if (expires > w->now) {
			failed = failed_embryo(&set->way[way]);
			if (failed == LBD_DEST_NONE)
				continue;
		}
		bpf_spin_lock(&set->lock);
		expires = set->way[way].expires;
		if (expires && (expires <= w->now ||
				(!is_reverse(&set->way[way].key) && set->way[way].flow.dest == failed))) {
			if (!is_reverse(&set->way[way].key))
				lost = set->way[way].flow.dest;
			set->way[way].expires = 0;
		}
		bpf_spin_unlock(&set->lock);
		if (lost != LBD_DEST_NONE) {
			add_pending(lost, -1);
			w->done++;
		}
	}
	return 0;
}

/* Takes back what embryos count as pending that have expired, or whose server has failed. */
SEC("xdp")
int lbd_sweep_embryos(struct xdp_md *ctx)
{
	struct work *frame = at(ctx, 0, sizeof(*frame));
	struct work w;

	if (!frame)
		return XDP_ABORTED;
	w = *frame;
	w.now = bpf_ktime_get_coarse_ns();
	w.done = 0;
	bpf_loop(w.count, sweep_set, &w, 0);
	frame = at(ctx, 0, sizeof(*frame));
	if (frame)
		frame->done = w.done;
	return XDP_PASS;
}

/* Enters what the peer has told; the frame is a struct restore. */
SEC("xdp")
int lbd_restore(struct xdp_md *ctx)
{
	struct restore *frame = at(ctx, 0, sizeof(*frame));
	struct restore w = {};

	if (!frame)
		return XDP_ABORTED;
	w.count = frame->count;
	w.owner = frame->owner;
	bpf_loop(w.count, restore_one, &w, 0);
	frame = at(ctx, 0, sizeof(*frame));
	if (frame)
		*frame = w;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
