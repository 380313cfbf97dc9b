/* What the peer tells is entered: connections with their way back, and bindings.
 *
 * Run by the daemon with BPF_PROG_TEST_RUN on a list in `restore_entries`. As in
 * flows.h, counts are changed by whoever wins the change. It must not use `scratch`:
 * on Linux 6.1 a packet may be handled on this CPU in the midst of a run.
 */
#ifndef LBD_RESTORE_H
#define LBD_RESTORE_H

#include "flows.h"

#define RESTORE_DONE 0
#define RESTORE_OLDER 1
#define RESTORE_STRAY 2
#define RESTORE_FULL 3
#define RESTORE_NOWHERE 4

/* This box has seen the connection itself, and later than the peer. */
static __always_inline bool is_known_better(const struct flow *f, __u64 told_seen, __u32 owner)
{
	return !(f->state & LBD_FLOW_SYNCED) && (owner || f->last_seen > told_seen);
}

static __always_inline void take_over_state(struct flow *f, const struct flow *told)
{
	__u32 old = *(volatile __u32 *)&f->state;
	__u32 new = (told->state & LBD_FLOW_TOLD) | LBD_FLOW_SYNCED;

	if (old & LBD_FLOW_REMOVED || __sync_val_compare_and_swap(&f->state, old, new) != old)
		return;
	if ((old ^ new) & LBD_FLOW_CLOSED)
		add_active(f->dest, new & LBD_FLOW_CLOSED ? -1 : 1);
	if (told->last_seen > f->last_seen)
		f->last_seen = told->last_seen;
	f->last_ack = told->last_ack;
}

static __always_inline void describe_told_way_back(struct rflow *r, const struct flow_key *key,
						   const struct sync_entry *e)
{
	r->last_seen = e->flow.last_seen;
	r->last_ack = e->server_ack;
	r->forward = *key;
	r->dest = e->flow.dest;
	r->client_port = LBD_PORT_BY_MAC;
	r->client = e->flow.client;
}

/* Makes room for the way back `reverse`: true, unless this box knows better. */
STEP int clear_way_back(const struct flow_key *reverse, __u64 told_seen, __u32 owner)
{
	if (!reverse)
		return 0;

	struct flow_key back = *reverse, forward; /* Linux 6.1 takes no argument of a step as the key of a map */
	struct rflow *r = bpf_map_lookup_elem(&rflows, &back);
	struct flow *f;
	struct dest *d;
	__u32 dest;

	if (!r)
		return 1;
	forward = r->forward;
	f = bpf_map_lookup_elem(&flows, &forward);
	if (f) {
		dest = f->dest;
		d = bpf_map_lookup_elem(&dests, &dest);
		if (!d || is_known_better(f, told_seen, owner))
			return 0;
		flow_remove(&forward, f, d, false);
	}
	bpf_map_delete_elem(&rflows, &back);
	return 1;
}

/* A connection that is not in the table. */
STEP int restore_new(const struct sync_entry *e, __u32 owner)
{
	if (!e)
		return RESTORE_STRAY;

	struct flow_key key = e->key, reverse = {};
	struct flow f = e->flow;
	struct dest *d = the_dest(f.dest);
	struct rflow r = {};
	bool both_ways;

	if (!d)
		return RESTORE_NOWHERE;
	f.state = (f.state & LBD_FLOW_TOLD) | LBD_FLOW_SYNCED;
	f.client_port = LBD_PORT_BY_MAC;
	both_ways = reverse_key(&key, &f, d, &reverse);
	if (both_ways) {
		if (!clear_way_back(&reverse, f.last_seen, owner))
			return RESTORE_OLDER;
		describe_told_way_back(&r, &key, e);
		if (bpf_map_update_elem(&rflows, &reverse, &r, BPF_NOEXIST))
			return RESTORE_FULL;
	}
	if (bpf_map_update_elem(&flows, &key, &f, BPF_NOEXIST)) {
		if (both_ways)
			bpf_map_delete_elem(&rflows, &reverse);
		return RESTORE_FULL;
	}
	count(REASON_FLOW_ENTERED);
	if (!(f.state & LBD_FLOW_CLOSED))
		add_active(f.dest, 1);
	return RESTORE_DONE;
}

/* Whether a connection in the table and the one that is told are bound alike. */
static __always_inline bool is_bound_alike(const struct flow *f, const struct flow *told)
{
	return f->dest == told->dest && f->snat == told->snat && f->snat_port == told->snat_port;
}

STEP int restore_flow(const struct sync_entry *e, __u32 owner)
{
	if (!e)
		return RESTORE_STRAY;

	struct flow_key key = e->key, reverse = {};
	struct flow *f = bpf_map_lookup_elem(&flows, &key);
	struct rflow *r;
	struct dest *d;
	__u32 dest;

	if (!f)
		return e->kind == LBD_SYNC_PUT ? restore_new(e, owner) : RESTORE_STRAY;
	if (is_known_better(f, e->flow.last_seen, owner))
		return RESTORE_OLDER;
	dest = f->dest;
	d = bpf_map_lookup_elem(&dests, &dest);
	if (!d)
		return RESTORE_NOWHERE;
	if (e->kind == LBD_SYNC_GONE) {
		flow_remove(&key, f, d, false);
		return RESTORE_DONE;
	}
	if (e->kind == LBD_SYNC_PUT && !is_bound_alike(f, &e->flow)) {
		flow_remove(&key, f, d, false);
		return restore_new(e, owner);
	}
	take_over_state(f, &e->flow);
	if (e->kind != LBD_SYNC_PUT)
		return RESTORE_DONE;
	f->created = e->flow.created;
	f->progress = e->flow.progress;
	*(volatile __u64 *)&f->client = l2_word(&e->flow.client);
	f->client_port = LBD_PORT_BY_MAC;
	if (!reverse_key(&key, f, d, &reverse))
		return RESTORE_DONE;
	r = bpf_map_lookup_elem(&rflows, &reverse);
	if (!r)
		return RESTORE_DONE;
	*(volatile __u64 *)&r->client = l2_word(&e->flow.client);
	r->client_port = LBD_PORT_BY_MAC;
	if (e->server_ack)
		r->last_ack = e->server_ack;
	return RESTORE_DONE;
}

STEP int restore_binding(const struct sync_entry *e)
{
	if (!e)
		return RESTORE_STRAY;

	struct persist_key who = {.client = e->key.peer, .group = e->key.local};
	struct persist bound = {.last_seen = e->flow.last_seen, .server = e->flow.dest, .vip = e->flow.state};
	struct persist *old = bpf_map_lookup_elem(&persist, &who);

	if (old && old->last_seen > bound.last_seen)
		return RESTORE_OLDER;
	return bpf_map_update_elem(&persist, &who, &bound, BPF_ANY) ? RESTORE_FULL : RESTORE_DONE;
}

static long restore_one(__u32 i, void *context)
{
	struct restore *w = context;
	struct sync_entry *e = bpf_map_lookup_elem(&restore_entries, &i);

	if (!e)
		return 1;
	switch (e->kind == LBD_SYNC_BINDING ? restore_binding(e) : restore_flow(e, w->owner)) {
	case RESTORE_DONE:
		w->done++;
		break;
	case RESTORE_OLDER:
		w->older++;
		break;
	case RESTORE_STRAY:
		w->stray++;
		break;
	case RESTORE_FULL:
		w->full++;
		count(REASON_TABLE_FULL);
		break;
	default:
		w->nowhere++;
	}
	return 0;
}

#endif
