/* The maps. All are pinned; who owns and writes which is told in docs/dataplane.md. */
#ifndef LBD_MAPS_H
#define LBD_MAPS_H

#include "lb.h"

#define MAP(kind, name, key_t, value_t, entries, flags)                                                               \
	struct {                                                                                                      \
		__uint(type, kind);                                                                                   \
		__type(key, key_t);                                                                                   \
		__type(value, value_t);                                                                               \
		__uint(max_entries, entries);                                                                         \
		__uint(map_flags, flags);                                                                             \
	} name SEC(".maps")

/* Written by the daemon. Those that change under traffic are memory-mapped, so
 * that it can store a word at once where a copy could be seen half done. */
MAP(BPF_MAP_TYPE_ARRAY, control, __u32, struct control, 1, BPF_F_MMAPABLE);
MAP(BPF_MAP_TYPE_ARRAY, ownership, __u32, struct ownership, 1, BPF_F_MMAPABLE);
MAP(BPF_MAP_TYPE_HASH, ports, __u32, struct port, LBD_MAX_PORTS, 0);
MAP(BPF_MAP_TYPE_DEVMAP_HASH, tx_ports, __u32, __u32, LBD_MAX_PORTS, 0);
MAP(BPF_MAP_TYPE_HASH, addrs, struct addr, struct addr_info, LBD_MAX_ADDRS, 0);
MAP(BPF_MAP_TYPE_ARRAY, vips, __u32, struct addr, LBD_MAX_VIPS, 0);
MAP(BPF_MAP_TYPE_HASH, services, struct service_key, __u32, LBD_MAX_SERVICE_PORTS, BPF_F_NO_PREALLOC);
MAP(BPF_MAP_TYPE_ARRAY, service_settings, __u32, struct service, LBD_MAX_SERVICES, 0);
MAP(BPF_MAP_TYPE_ARRAY, dests, __u32, struct dest, LBD_MAX_DESTS, BPF_F_MMAPABLE);
MAP(BPF_MAP_TYPE_HASH, members, struct member_key, __u32, LBD_MAX_DESTS, BPF_F_NO_PREALLOC);
MAP(BPF_MAP_TYPE_ARRAY, snats, __u32, struct snat, LBD_MAX_SNATS, 0);
MAP(BPF_MAP_TYPE_HASH, names, struct name_key, struct name, 131072, BPF_F_NO_PREALLOC); /* not read by the program */
MAP(BPF_MAP_TYPE_LPM_TRIE, inside, struct prefix_key, __u32, 256, BPF_F_NO_PREALLOC);
MAP(BPF_MAP_TYPE_LPM_TRIE, migrants, struct migrant_key, __u32, LBD_MAX_MIGRANTS, BPF_F_NO_PREALLOC);
/* MAC and VLAN -> where that client is, or the router of many; 0 -> the way to all others. */
MAP(BPF_MAP_TYPE_HASH, client_places, __u64, struct client_place, LBD_MAX_CLIENT_PLACES, BPF_F_NO_PREALLOC);
MAP(BPF_MAP_TYPE_HASH, actives, struct active_key, __u32, 2 * LBD_MAX_SERVERS, BPF_F_NO_PREALLOC);

struct table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 3);
	__uint(map_flags, BPF_F_INNER_MAP); /* tables differ in size */
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__type(key, __u32);
	__uint(max_entries, 2 * LBD_MAX_SERVICES);
	__array(values, struct table);
} tables SEC(".maps");

/* Written by the program. */
MAP(BPF_MAP_TYPE_ARRAY, conns, __u32, struct conns, LBD_MAX_DESTS, BPF_F_MMAPABLE);
MAP(BPF_MAP_TYPE_ARRAY, server_conns, __u32, struct conns, LBD_MAX_SERVERS, BPF_F_MMAPABLE);
MAP(BPF_MAP_TYPE_ARRAY, turns, __u32, __u64, 2 * LBD_MAX_SERVICES, BPF_F_MMAPABLE); /* round robin: whose turn, by table */
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, traffic, __u32, struct traffic, LBD_MAX_DESTS, 0);
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, reasons, __u32, __u64, REASON_MAX, 0);
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, seen_macs, __u32, struct seen_mac, LBD_MAX_SEEN_MACS, 0);
MAP(BPF_MAP_TYPE_ARRAY, reap_keys, __u32, struct flow_key, LBD_REAP_MAX, 0);
MAP(BPF_MAP_TYPE_ARRAY, restore_entries, __u32, struct sync_entry, LBD_RESTORE_MAX, 0);
MAP(BPF_MAP_TYPE_ARRAY, sync_lost, __u32, struct sync_lost, 1, BPF_F_MMAPABLE);
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, LBD_SYNC_RING_BYTES);
} sync_events SEC(".maps");

/* Sized by `limits` of the configuration when they are made. */
MAP(BPF_MAP_TYPE_HASH, flows, struct flow_key, struct flow, 1024, 0);
MAP(BPF_MAP_TYPE_HASH, rflows, struct flow_key, struct rflow, 1024, 0);
MAP(BPF_MAP_TYPE_ARRAY, embryos, __u32, struct embryo_set, 256, 0);
MAP(BPF_MAP_TYPE_LRU_HASH, persist, struct persist_key, struct persist, 1024, 0);
MAP(BPF_MAP_TYPE_LRU_HASH, persist_new, struct persist_key, struct persist, 1024, 0);
MAP(BPF_MAP_TYPE_LRU_HASH, frags, struct frag_key, struct frag, 256, 0);

#endif
