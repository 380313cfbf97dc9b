/* What the peer is told of connections, as it happens: the events of `sync_events`.
 *
 * Nothing here is on the way of a packet that changes nothing. While nobody
 * listens (`control.sync`) an event costs one look-up; when the ring is full it is
 * marked whose connections were concerned, and the daemon tells of all of them anew.
 */
#ifndef LBD_SYNC_H
#define LBD_SYNC_H

#include "base.h"

/* Bindings are told again when they are renewed and this many nanoseconds, as a
 * power of two, have passed: 8.6 s. */
#define BINDING_GRID 33

static __always_inline bool is_listened_to(void)
{
	struct control *c = the_control();

	return !IS_DRY && c && *(const volatile __u32 *)&c->sync;
}

/* By what both boxes know: no number of this box alone goes into it (core/synced.rs). */
static __always_inline __u32 sync_part(const struct flow_key *key)
{
	__u32 hash = hash_addr(0, &key->peer);

	hash = mix(hash, ((__u32)key->peer_port << 16) | key->port);
	return finish(mix(hash, key->local & LBD_LOCAL_UDP)) & (LBD_SYNC_PARTS - 1);
}

static __always_inline void sync_lose(__u32 part)
{
	__u32 zero = 0;
	struct sync_lost *lost = bpf_map_lookup_elem(&sync_lost, &zero);

	if (!lost)
		return;
	__sync_fetch_and_or(&lost->part[(part / 64) & (LBD_SYNC_PARTS / 64 - 1)], 1ULL << (part & 63));
	__sync_fetch_and_add(&lost->events, 1);
}

STEP int sync_tell(__u32 kind, const struct flow_key *key, const struct flow *f, __be32 server_ack, __u64 now)
{
	if (!key || !f)
		return 0;

	struct sync_entry *e;

	if (!is_listened_to())
		return 0;
	e = bpf_ringbuf_reserve(&sync_events, sizeof(*e), 0);
	if (!e) {
		sync_lose(sync_part(key));
		return 0;
	}
	e->kind = kind;
	e->server_ack = server_ack;
	e->at = now;
	e->key = *key;
	e->flow = *f;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP); /* the daemon looks every few milliseconds */
	return 0;
}

/* A binding is new, or renewed: `old` as it was before, or NULL. */
static __always_inline void sync_tell_binding(const struct persist_key *who, const struct persist *old,
					      const struct persist *bound)
{
	struct flow_key key = {.peer = who->client, .local = who->group};
	struct sync_entry *e;

	if (old && old->server == bound->server && old->vip == bound->vip &&
	    old->last_seen >> BINDING_GRID == bound->last_seen >> BINDING_GRID)
		return;
	e = bpf_ringbuf_reserve(&sync_events, sizeof(*e), 0);
	if (!e) {
		sync_lose(sync_part(&key));
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->kind = LBD_SYNC_BINDING;
	e->at = bound->last_seen;
	e->key = key;
	e->flow.last_seen = bound->last_seen;
	e->flow.dest = bound->server;
	e->flow.state = bound->vip;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
}

#endif
