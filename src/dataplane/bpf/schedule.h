/* Which server gets a new flow: that of the client's pool to which it is bound, else by the pool's table. */
#ifndef LBD_SCHEDULE_H
#define LBD_SCHEDULE_H

#include "flows.h"

/* Whether a server's limit permits one more established connection. Handshakes
 * under way count only when they are asked for: they spread a burst over the
 * servers that have room, but must not close any, or a flood of them would
 * close all to customers. `known_embryo` asks again when one is completed. */
static __always_inline bool below_limit(const struct dest *d, bool with_pending)
{
	__u32 server = d->server;
	struct conns *s = bpf_map_lookup_elem(&server_conns, &server);

	return !s || !s->max || s->active + (with_pending ? s->pending : 0) < s->max;
}

/* A destination may get a new connection. */
static __always_inline bool has_room(__u32 id, bool with_pending)
{
	struct dest *d = the_dest(id);

	return d && d->flags & LBD_DEST_OPEN && below_limit(d, with_pending);
}

static __always_inline __u32 table_word(__u32 table, __u32 index)
{
	void *words = bpf_map_lookup_elem(&tables, &table);
	__u32 *word;

	if (!words)
		return 0;
	word = bpf_map_lookup_elem(words, &index);
	return word ? *word : 0;
}

struct search {
	__u64 best_load; /* least connections: the best so far, as load / weight */
	__u64 best_weight;
	__u32 table;
	__u32 start;
	__u32 count;
	__u32 found;
	bool with_pending;
};

static long try_slot(__u32 i, void *context)
{
	struct search *s = context;
	__u32 id = table_word(s->table, LBD_TABLE_HEADER + (s->start + i) % s->count);

	if (!has_room(id, s->with_pending))
		return 0;
	s->found = id;
	return 1;
}

static long try_least(__u32 i, void *context)
{
	struct search *s = context;
	__u32 at_slot = LBD_TABLE_HEADER + 2 * ((s->start + i) % s->count);
	__u32 id = table_word(s->table, at_slot);
	__u64 weight = table_word(s->table, at_slot + 1);
	struct conns *c = bpf_map_lookup_elem(&conns, &id);
	__u64 load;

	if (!c || !weight || !has_room(id, s->with_pending))
		return 0;
	load = c->active + c->pending + 1;
	if (s->found == LBD_DEST_NONE || load * s->best_weight < s->best_load * weight) {
		s->found = id;
		s->best_load = load;
		s->best_weight = weight;
	}
	return 0;
}

static __always_inline __u32 next_turn(__u32 table)
{
	__u64 *turn = bpf_map_lookup_elem(&turns, &table);

	if (IS_DRY)
		return turn ? *turn : 0;
	return turn ? __sync_fetch_and_add(turn, 1) : 0;
}

static __always_inline void search_table(__u32 kind, struct search *s)
{
	if (kind == LBD_SCHED_LEAST_CONNECTIONS)
		bpf_loop(LBD_LEAST_CONNECTIONS_MAX < s->count ? LBD_LEAST_CONNECTIONS_MAX : s->count, try_least, s, 0);
	else
		bpf_loop(s->count, try_slot, s, 0);
}

/* By a table. `later`: a packet of a connection without an entry,
 * which only a consistent hash can send where its first packet went; limits do
 * not apply to it. */
STEP __u32 schedule(__u32 table, const struct flow_key *key, bool later)
{
	if (!key)
		return LBD_DEST_NONE;

	struct control *c = the_control();
	struct search s = {.table = table, .found = LBD_DEST_NONE};
	__u32 kind = table_word(table, 0);
	__u32 hash;

	s.count = table_word(table, 1);
	if (!c || !s.count)
		return LBD_DEST_NONE;
	hash = hash_addr(c->seed, &key->peer);
	if (kind == LBD_SCHED_MAGLEV)
		hash = mix(hash, key->peer_port);
	if (kind == LBD_SCHED_MAGLEV || kind == LBD_SCHED_SOURCE_HASH) {
		s.start = finish(hash) % s.count;
		if (later)
			return table_word(table, LBD_TABLE_HEADER + s.start);
	} else {
		if (later)
			return LBD_DEST_NONE;
		s.start = next_turn(table) % s.count;
	}
	s.with_pending = true;
	search_table(kind, &s);
	if (s.found == LBD_DEST_NONE) {
		s.with_pending = false;
		search_table(kind, &s);
	}
	return s.found;
}

/* -- persistence ------------------------------------------------------------------ */

/* The part of a client's address by which it is known to the service. */
static __always_inline void mask_client(const struct service *s, const struct addr *client, struct addr *masked)
{
	__s32 bits = s->persist_group ? s->persist_prefix : 128;
	int i;

#pragma unroll
	for (i = 0; i < 4; i++) {
		__u32 mask = bits >= 32 ? 0xffffffff : bits <= 0 ? 0 : ~(0xffffffffu >> bits);

		masked->word[i] = client->word[i] & bpf_htonl(mask);
		bits -= 32;
	}
}

static __always_inline void persist_key_of(const struct service *s, const struct addr *client, struct persist_key *key)
{
	mask_client(s, client, &key->client);
	key->group = s->persist_group;
	key->pad = 0;
}

/* A binding of the client that has not run out. */
static __always_inline struct persist *binding_of(const struct service *s, const struct addr *client, __u64 now)
{
	struct persist_key who = {};
	struct persist *bound;

	if (!s->persist_group)
		return NULL;
	persist_key_of(s, client, &who);
	bound = bpf_map_lookup_elem(&persist, &who);
	if (bound && elapsed(now, bound->last_seen) <= s->persist_ns)
		return bound;
	bound = bpf_map_lookup_elem(&persist_new, &who);
	return bound && elapsed(now, bound->last_seen) <= s->persist_ns ? bound : NULL;
}

/* The server that the client is bound to, if it is of the pool that is asked for and still
 * takes connections. A data connection follows its session also to a server that
 * takes no new ones. */
STEP __u32 persistent_dest(__u32 service, const struct flow_key *key, __u64 now, bool later, bool second)
{
	if (!key)
		return LBD_DEST_NONE;

	struct service *s = bpf_map_lookup_elem(&service_settings, &service);
	struct member_key member;
	struct persist *bound;
	struct dest *d;
	__u32 *dest;
	__u16 port;

	if (!s)
		return LBD_DEST_NONE;
	bound = binding_of(s, &key->peer, now);
	if (!bound)
		return LBD_DEST_NONE;
	member.service = service;
	member.server = bound->server;
	dest = bpf_map_lookup_elem(&members, &member);
	if (!dest)
		return LBD_DEST_NONE;
	d = the_dest(*dest);
	if (!d || d->flags & LBD_DEST_DOWN || (d->flags & LBD_DEST_SECOND) != (second ? LBD_DEST_SECOND : 0))
		return LBD_DEST_NONE;
	port = bpf_ntohs(key->port);
	if (!later && port >= s->control_first && port <= s->control_last && !has_room(*dest, false))
		return LBD_DEST_NONE;
	return *dest;
}

/* Binds a client: in the table of newcomers at the first packet, which a flood
 * may fill, and for good once the handshake is complete. */
STEP int persist_bind(__u32 service, const struct flow_key *key, __u32 dest, __u64 now, bool established)
{
	if (!key || IS_DRY)
		return 0;

	struct service *s = bpf_map_lookup_elem(&service_settings, &service);
	struct dest *d = the_dest(dest);
	struct persist_key who = {};
	struct persist bound = {.last_seen = now};

	if (!s || !d || !s->persist_group || !(d->flags & LBD_DEST_OPEN))
		return 0;
	persist_key_of(s, &key->peer, &who);
	bound.server = d->server;
	bound.vip = key->local & LBD_LOCAL_ID;
	if (established) {
		if (is_listened_to())
			sync_tell_binding(&who, bpf_map_lookup_elem(&persist, &who), &bound);
		bpf_map_update_elem(&persist, &who, &bound, BPF_ANY);
	} else {
		bpf_map_update_elem(&persist_new, &who, &bound, BPF_ANY);
	}
	return 0;
}

/* -- migration -------------------------------------------------------------------- */

/* Makes the draw independent of the schedulers' hash of the same address. */
#define MIGRATION_SEED 0x6d696772

/* Whether the client belongs to the second pool. Those that a persistence prefix makes
 * one client migrate together; a larger share takes those of a smaller one along. */
STEP int is_migrated(__u32 service, const struct flow_key *key)
{
	if (!key)
		return 0;

	struct service *s = bpf_map_lookup_elem(&service_settings, &service);
	struct migrant_key who = {.length = 32 + 128, .service = service, .addr = key->peer};
	struct control *c = the_control();
	struct addr client;
	__u64 draw;

	if (!s || !c || !s->migrates)
		return 0;
	if (s->migrates & LBD_MIGRATES_PREFIXES && bpf_map_lookup_elem(&migrants, &who))
		return 1;
	mask_client(s, &key->peer, &client);
	draw = finish(hash_addr(c->seed ^ MIGRATION_SEED, &client));
	return draw * LBD_MIGRATE_ALL >> 32 < s->migrate_share;
}

/* The destination of a first packet, or of a later one whose flow has no entry. A migrated
 * client is served by the old pool when nobody in the new one can take it. */
STEP __u32 choose(__u32 service, const struct flow_key *key, __u64 now, bool later)
{
	if (!key)
		return LBD_DEST_NONE;

	bool second = is_migrated(service, key);
	__u32 dest = persistent_dest(service, key, now, later, second);

	if (dest != LBD_DEST_NONE)
		tell_how(LBD_HOW_BOUND);
	if (dest == LBD_DEST_NONE) {
		dest = schedule(second ? service + LBD_MAX_SERVICES : service, key, later);
		if (dest != LBD_DEST_NONE)
			tell_how(later ? LBD_HOW_HASH : LBD_HOW_TABLE);
	}
	if (dest != LBD_DEST_NONE && second)
		tell_how(LBD_HOW_MIGRATED);
	if (dest != LBD_DEST_NONE || !second)
		return dest;
	if (later && table_word(service + LBD_MAX_SERVICES, 1)) /* its first packet went there, but nobody knows to whom */
		return LBD_DEST_NONE;
	if (!later)
		count(REASON_NOT_MIGRATED);
	dest = persistent_dest(service, key, now, later, false);
	tell_how(dest != LBD_DEST_NONE ? LBD_HOW_BOUND : later ? LBD_HOW_HASH : LBD_HOW_TABLE);
	return dest == LBD_DEST_NONE ? schedule(service, key, later) : dest;
}

#endif
