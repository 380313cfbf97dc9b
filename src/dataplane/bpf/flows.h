/* The connection table: established flows, their way back, and the embryos.
 *
 * Everything else knows it by the functions of this file, so that another
 * table can take its place. Counts of connections are changed here and nowhere
 * else: by whoever wins the insertion, the deletion or the change of a state
 * bit, hence exactly once.
 */
#ifndef LBD_FLOWS_H
#define LBD_FLOWS_H

#include "base.h"
#include "sync.h"

static __always_inline struct dest *the_dest(__u32 id)
{
	struct dest *d = bpf_map_lookup_elem(&dests, &id);

	return d && d->flags & LBD_DEST_VALID ? d : NULL;
}

static __always_inline void add_active(__u32 dest, __s64 n)
{
	struct dest *d = bpf_map_lookup_elem(&dests, &dest);
	struct conns *c = bpf_map_lookup_elem(&conns, &dest);
	__u32 server;

	if (IS_DRY || !d || !c)
		return;
	__sync_fetch_and_add(&c->active, n);
	server = d->server;
	c = bpf_map_lookup_elem(&server_conns, &server);
	if (c)
		__sync_fetch_and_add(&c->active, n);
}

static __always_inline void add_pending(__u32 dest, __s64 n)
{
	struct dest *d = bpf_map_lookup_elem(&dests, &dest);
	struct conns *c = bpf_map_lookup_elem(&conns, &dest);
	__u32 server;

	if (IS_DRY || !d || !c)
		return;
	__sync_fetch_and_add(&c->pending, n);
	server = d->server;
	c = bpf_map_lookup_elem(&server_conns, &server);
	if (c)
		__sync_fetch_and_add(&c->pending, n);
}

/* -- embryos ------------------------------------------------------------------ */

static __always_inline bool is_reverse(const struct flow_key *key)
{
	return key->local & (LBD_LOCAL_SERVER | LBD_LOCAL_SNAT);
}

static __always_inline struct embryo_set *embryo_set_of(const struct flow_key *key)
{
	struct control *c = the_control();
	__u32 hash, set;

	if (!c)
		return NULL;
	hash = hash_addr(c->seed, &key->peer);
	hash = mix(hash, ((__u32)key->peer_port << 16) | key->port);
	set = finish(mix(hash, key->local)) & c->embryo_mask;
	return bpf_map_lookup_elem(&embryos, &set);
}

static __always_inline int embryo_find(struct embryo_set *set, const struct flow_key *key, __u64 now)
{
	int i, found = -1;

#pragma unroll
	for (i = 0; i < LBD_EMBRYO_WAYS; i++)
		if (set->way[i].expires > now && same_key(&set->way[i].key, key))
			found = i;
	return found;
}

/* Copies the embryo of `key` out; false when there is none. */
STEP int embryo_get(const struct flow_key *key, __u64 now, struct embryo *out)
{
	if (!key || !out)
		return 0;

	struct embryo_set *set = embryo_set_of(key);
	int way;

	if (!set)
		return false;
	bpf_spin_lock(&set->lock);
	way = embryo_find(set, key, now);
	if (way >= 0)
		*out = set->way[way & (LBD_EMBRYO_WAYS - 1)];
	bpf_spin_unlock(&set->lock);
	return way >= 0;
}

#define EMBRYO_NEW 0
#define EMBRYO_UPDATED 1
#define EMBRYO_TAKEN 2 /* only for reverse keys: another flow's */

/* Enters or refreshes an embryo. The oldest of its set gives way when all are
 * in use, so that a flood costs other embryos and nothing else. */
STEP int embryo_put(const struct embryo *e, __u64 now)
{
	if (!e)
		return EMBRYO_TAKEN;

	struct embryo_set *set = embryo_set_of(&e->key);
	__u32 lost = LBD_DEST_NONE, dest = e->flow.dest;
	bool evicted = false, reverse = is_reverse(&e->key);
	int way, i, result;
	__u64 oldest;

	if (!set)
		return EMBRYO_TAKEN;
	bpf_spin_lock(&set->lock);
	way = embryo_find(set, &e->key, now);
	if (IS_DRY) {
		struct embryo *old = &set->way[way & (LBD_EMBRYO_WAYS - 1)];
		bool taken = way >= 0 && reverse && !same_key(&old->rflow.forward, &e->rflow.forward);

		bpf_spin_unlock(&set->lock);
		return taken ? EMBRYO_TAKEN : EMBRYO_NEW;
	}
	if (way >= 0) {
		struct embryo *old = &set->way[way & (LBD_EMBRYO_WAYS - 1)];

		if (reverse && !same_key(&old->rflow.forward, &e->rflow.forward)) {
			result = EMBRYO_TAKEN;
		} else {
			if (!reverse)
				lost = old->flow.dest;
			*old = *e;
			result = EMBRYO_UPDATED;
		}
	} else {
		struct embryo *old;

		way = 0;
		oldest = set->way[0].expires;
#pragma unroll
		for (i = 1; i < LBD_EMBRYO_WAYS; i++)
			if (set->way[i].expires < oldest) {
				oldest = set->way[i].expires;
				way = i;
			}
		old = &set->way[way & (LBD_EMBRYO_WAYS - 1)];
		evicted = oldest > now;
		if (oldest && !is_reverse(&old->key))
			lost = old->flow.dest;
		*old = *e;
		result = EMBRYO_NEW;
	}
	bpf_spin_unlock(&set->lock);

	if (!reverse) {
		add_pending(dest, 1);
		if (lost != LBD_DEST_NONE)
			add_pending(lost, -1);
	} else if (lost != LBD_DEST_NONE) {
		add_pending(lost, -1);
	}
	if (evicted)
		count(REASON_EMBRYO_EVICTED);
	return result;
}

/* Marks that the server has answered a handshake. */
STEP int embryo_mark(const struct flow_key *key, __u64 now, __u32 bits)
{
	if (!key || IS_DRY)
		return 0;

	struct embryo_set *set = embryo_set_of(key);
	int way;

	if (!set)
		return 0;
	bpf_spin_lock(&set->lock);
	way = embryo_find(set, key, now);
	if (way >= 0)
		set->way[way & (LBD_EMBRYO_WAYS - 1)].flow.state |= bits;
	bpf_spin_unlock(&set->lock);
	return 0;
}

/* Forgets an embryo; what it counted as pending is taken back. */
STEP int embryo_remove(const struct flow_key *key, __u64 now)
{
	if (!key || IS_DRY)
		return 0;

	struct embryo_set *set = embryo_set_of(key);
	__u32 lost = LBD_DEST_NONE;
	int way;

	if (!set)
		return 0;
	bpf_spin_lock(&set->lock);
	way = embryo_find(set, key, now);
	if (way >= 0) {
		struct embryo *old = &set->way[way & (LBD_EMBRYO_WAYS - 1)];

		if (!is_reverse(&old->key))
			lost = old->flow.dest;
		old->expires = 0;
	}
	bpf_spin_unlock(&set->lock);
	if (lost != LBD_DEST_NONE)
		add_pending(lost, -1);
	return 0;
}

/* -- established ----------------------------------------------------------------- */

/* The key under which a flow's replies arrive; false for DSR, where none do. */
static __always_inline bool reverse_key(const struct flow_key *key, const struct flow *f, const struct dest *d,
					struct flow_key *reverse)
{
	__be16 port = d->port ? d->port : key->port;

	if (f->snat) {
		reverse->peer = d->addr;
		reverse->peer_port = port;
		reverse->port = f->snat_port;
		reverse->local = LBD_LOCAL_SNAT | (f->snat - 1) | (key->local & LBD_LOCAL_UDP);
		return true;
	}
	if (d->mode == LBD_MODE_DSR)
		return false;
	reverse->peer = key->peer;
	reverse->peer_port = key->peer_port;
	reverse->port = port;
	reverse->local = LBD_LOCAL_SERVER | d->server | (key->local & LBD_LOCAL_UDP);
	return true;
}

/* Reset, closed by both sides, or, in DSR where the server is not seen, by the client. */
static __always_inline bool has_ended(__u32 state, bool dsr)
{
	const __u32 both = LBD_FLOW_CLIENT_FIN | LBD_FLOW_SERVER_FIN;

	return state & (LBD_FLOW_CLIENT_RST | LBD_FLOW_SERVER_RST) || (state & both) == both ||
	       (dsr && state & LBD_FLOW_CLIENT_FIN);
}

/* Adds state bits; the flow stops to count as active when it is over. */
static __always_inline void flow_mark(const struct flow_key *key, struct flow *f, __u32 bits, bool dsr, __u64 now)
{
	__u32 state = f->state;
	bool is_news = (state & bits) != bits;

	if (IS_DRY)
		return;
	if (is_news)
		state = __sync_fetch_and_or(&f->state, bits) | bits;
	if (!(state & LBD_FLOW_CLOSED) && has_ended(state, dsr))
		if (!(__sync_fetch_and_or(&f->state, LBD_FLOW_CLOSED) & LBD_FLOW_CLOSED))
			add_active(f->dest, -1);
	if (is_news)
		sync_tell(LBD_SYNC_TOUCH, key, f, 0, now);
}

/* A side that sent RST is heard again: the RST was forged or stray. The flow
 * counts again, and must prove itself again; unless another CPU is removing it:
 * nobody would take that count back. */
static __always_inline void flow_revive(const struct flow_key *key, struct flow *f, __u32 rst, __u64 now)
{
	__u32 old = *(volatile __u32 *)&f->state;
	__u32 new = old & ~(rst | LBD_FLOW_CLOSED | LBD_FLOW_PROVEN);

	if (IS_DRY || old & LBD_FLOW_REMOVED || __sync_val_compare_and_swap(&f->state, old, new) != old)
		return;
	f->progress = 0;
	if (old & LBD_FLOW_CLOSED)
		add_active(f->dest, 1);
	sync_tell(LBD_SYNC_TOUCH, key, f, 0, now);
}

static __always_inline __u64 flow_idle_max(const struct flow_key *key, const struct flow *f, const struct service *s)
{
	const __u32 both = LBD_FLOW_CLIENT_FIN | LBD_FLOW_SERVER_FIN;

	if (key->local & LBD_LOCAL_UDP)
		return s->udp_ns;
	if (f->state & (LBD_FLOW_CLIENT_RST | LBD_FLOW_SERVER_RST) || (f->state & both) == both)
		return s->closed_ns;
	if (f->state & both)
		return s->closing_ns;
	if (!(f->state & LBD_FLOW_PROVEN))
		return s->unproven_ns;
	return s->established_ns;
}

/* Forgets an established flow and its way back. One CPU does it, or a slow second
 * one would delete the flow that has followed under the same key. `late`: whoever
 * began with it has had the time to end. */
static __always_inline void flow_remove(const struct flow_key *key, struct flow *f, const struct dest *d, bool late)
{
	__u32 dest = f->dest, old;
	struct flow_key reverse;
	bool both_ways, counted_active;

	if (IS_DRY)
		return;
	both_ways = reverse_key(key, f, d, &reverse);
	old = __sync_fetch_and_or(&f->state, LBD_FLOW_CLOSED | LBD_FLOW_REMOVED);
	counted_active = !(old & LBD_FLOW_CLOSED);
	if (old & LBD_FLOW_REMOVED && !late)
		return;
	sync_tell(LBD_SYNC_GONE, key, f, 0, bpf_ktime_get_coarse_ns()); /* now, however long it was idle */
	if (both_ways)
		bpf_map_delete_elem(&rflows, &reverse);
	if (!bpf_map_delete_elem(&flows, key))
		count(REASON_FLOW_REMOVED);
	if (counted_active)
		add_active(dest, -1);
}

/* The server of a TCP flow has failed, and its client has been told. In DSR the entry stays as long as any that was
 * reset, counted from now: a client that did not believe it, because the peer's tale of its ACK was old, is told again at its next packet.
 * Without an entry that packet is for another server by its hash, and one that still holds a connection of the same
 * ports, whose client was told by us and not by it, answers with anything but a RST. */
static __always_inline void flow_end(const struct flow_key *key, struct flow *f, bool dsr, __u64 now)
{
	f->last_seen = now;
	__sync_fetch_and_and(&f->state, ~LBD_FLOW_SYNCED);
	flow_mark(key, f, LBD_FLOW_SERVER_RST, dsr, now);
}

/* Idle for longer than its state allows. In NAT the server's side counts too. */
static __always_inline bool flow_expired(const struct flow_key *key, const struct flow *f, const struct dest *d,
					 __u64 now)
{
	__u32 service = d->service;
	struct service *s = bpf_map_lookup_elem(&service_settings, &service);
	struct flow_key reverse;
	struct rflow *r;
	__u64 idle_max;

	if (!s)
		return true;
	idle_max = flow_idle_max(key, f, s);
	if (f->state & LBD_FLOW_SYNCED) /* by what the peer has told last */
		idle_max += LBD_SYNC_GRACE_S * 1000000000ULL;
	if (elapsed(now, f->last_seen) <= idle_max)
		return false;
	if (!reverse_key(key, f, d, &reverse))
		return true;
	r = bpf_map_lookup_elem(&rflows, &reverse);
	return !r || elapsed(now, r->last_seen) > idle_max;
}

#endif
