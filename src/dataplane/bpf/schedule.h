/* Which server gets a new flow: persistence first, then the service's table. */
#ifndef LBD_SCHEDULE_H
#define LBD_SCHEDULE_H

#include "flows.h"

/* Whether a server's limit permits one more established connection. Handshakes
 * under way do not count here, or a flood of them would close every server to
 * customers; `known_embryo` asks again when one is completed. */
static __always_inline bool below_limit(const struct dest *d)
{
	__u32 server = d->server;
	struct conns *s = bpf_map_lookup_elem(&server_conns, &server);

	return !s || !s->max || s->active < s->max;
}

/* A destination may get a new connection. */
static __always_inline bool has_room(__u32 id)
{
	struct dest *d = the_dest(id);

	return d && d->flags & LBD_DEST_OPEN && below_limit(d);
}

static __always_inline __u32 table_word(__u32 service, __u32 index)
{
	void *table = bpf_map_lookup_elem(&tables, &service);
	__u32 *word;

	if (!table)
		return 0;
	word = bpf_map_lookup_elem(table, &index);
	return word ? *word : 0;
}

struct search {
	__u64 best_load; /* least connections: the best so far, as load / weight */
	__u64 best_weight;
	__u32 service;
	__u32 start;
	__u32 count;
	__u32 found;
};

static long try_slot(__u32 i, void *context)
{
	struct search *s = context;
	__u32 id = table_word(s->service, LBD_TABLE_HEADER + (s->start + i) % s->count);

	if (!has_room(id))
		return 0;
	s->found = id;
	return 1;
}

static long try_least(__u32 i, void *context)
{
	struct search *s = context;
	__u32 at_slot = LBD_TABLE_HEADER + 2 * ((s->start + i) % s->count);
	__u32 id = table_word(s->service, at_slot);
	__u64 weight = table_word(s->service, at_slot + 1);
	struct conns *c = bpf_map_lookup_elem(&conns, &id);
	__u64 load;

	if (!c || !weight || !has_room(id))
		return 0;
	load = c->active + c->pending + 1;
	if (s->found == LBD_DEST_NONE || load * s->best_weight < s->best_load * weight) {
		s->found = id;
		s->best_load = load;
		s->best_weight = weight;
	}
	return 0;
}

static __always_inline __u32 next_turn(__u32 service)
{
	__u64 *turn = bpf_map_lookup_elem(&turns, &service);

	return turn ? __sync_fetch_and_add(turn, 1) : 0;
}

/* By the service's table. `later`: a packet of a connection without an entry,
 * which only a consistent hash can send where its first packet went; limits do
 * not apply to it. */
STEP __u32 schedule(__u32 service, const struct flow_key *key, bool later)
{
	if (!key)
		return LBD_DEST_NONE;

	struct control *c = the_control();
	struct search s = {.service = service, .found = LBD_DEST_NONE};
	__u32 kind = table_word(service, 0);
	__u32 hash;

	s.count = table_word(service, 1);
	if (!c || !s.count)
		return LBD_DEST_NONE;
	hash = hash_addr(c->seed, &key->peer);
	if (kind == LBD_SCHED_MAGLEV)
		hash = mix(hash, key->peer_port);
	if (kind == LBD_SCHED_MAGLEV || kind == LBD_SCHED_SOURCE_HASH) {
		s.start = finish(hash) % s.count;
		if (later)
			return table_word(service, LBD_TABLE_HEADER + s.start);
	} else {
		if (later)
			return LBD_DEST_NONE;
		s.start = next_turn(service) % s.count;
	}
	if (kind == LBD_SCHED_LEAST_CONNECTIONS)
		bpf_loop(LBD_LEAST_CONNECTIONS_MAX < s.count ? LBD_LEAST_CONNECTIONS_MAX : s.count, try_least, &s, 0);
	else
		bpf_loop(s.count, try_slot, &s, 0);
	return s.found;
}

/* -- persistence ------------------------------------------------------------------ */

static __always_inline void persist_key_of(const struct service *s, const struct addr *client, struct persist_key *key)
{
	__s32 bits = s->persist_prefix;
	int i;

#pragma unroll
	for (i = 0; i < 4; i++) {
		__u32 mask = bits >= 32 ? 0xffffffff : bits <= 0 ? 0 : ~(0xffffffffu >> bits);

		key->client.word[i] = client->word[i] & bpf_htonl(mask);
		bits -= 32;
	}
	key->group = s->persist_group;
	key->pad = 0;
}

/* The server that the client is bound to, if it still takes connections. */
STEP __u32 persistent_dest(__u32 service, const struct flow_key *key, __u64 now, bool later)
{
	if (!key)
		return LBD_DEST_NONE;

	struct service *s = bpf_map_lookup_elem(&service_settings, &service);
	struct persist_key who = {};
	struct member_key member;
	struct persist *bound;
	struct dest *d;
	__u32 *dest;

	if (!s || !s->persist_group)
		return LBD_DEST_NONE;
	persist_key_of(s, &key->peer, &who);
	bound = bpf_map_lookup_elem(&persist, &who);
	if (!bound || elapsed(now, bound->last_seen) > s->persist_ns) {
		bound = bpf_map_lookup_elem(&persist_new, &who);
		if (!bound || elapsed(now, bound->last_seen) > s->persist_ns)
			return LBD_DEST_NONE;
	}
	member.service = service;
	member.server = bound->server;
	dest = bpf_map_lookup_elem(&members, &member);
	if (!dest)
		return LBD_DEST_NONE;
	d = the_dest(*dest);
	if (!d || d->flags & LBD_DEST_DOWN || (!later && !has_room(*dest)))
		return LBD_DEST_NONE;
	return *dest;
}

/* Binds a client: in the table of newcomers at the first packet, which a flood
 * may fill, and for good once the handshake is complete. */
STEP int persist_bind(__u32 service, const struct flow_key *key, __u32 dest, __u64 now, bool established)
{
	if (!key)
		return 0;

	struct service *s = bpf_map_lookup_elem(&service_settings, &service);
	struct dest *d = the_dest(dest);
	struct persist_key who = {};
	struct persist bound = {.last_seen = now};

	if (!s || !d || !s->persist_group || !(d->flags & LBD_DEST_OPEN))
		return 0;
	persist_key_of(s, &key->peer, &who);
	bound.server = d->server;
	if (established)
		bpf_map_update_elem(&persist, &who, &bound, BPF_ANY);
	else
		bpf_map_update_elem(&persist_new, &who, &bound, BPF_ANY);
	return 0;
}

#endif
