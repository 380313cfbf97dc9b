/* Where clients are: by which port a reply leaves. A flow keeps the port by which its client's latest packet came.
 * When uplinks have moved since, a client that waits in silence is somewhere else now, and would not be found until
 * it spoke: so the flow goes where its MAC, mostly that of a router, has been heard by anybody since. */
#ifndef LBD_CLIENTS_H
#define LBD_CLIENTS_H

#include "base.h"

static __always_inline __u32 moves_so_far(void)
{
	struct control *c = the_control();

	return c ? *(volatile __u64 *)&c->moves : 0;
}

/* A client was heard at another port than before, or for the first time. All others behind the same router are there
 * too. Two CPUs that count a move at the same moment may give both one number: then some flow follows a packet of its
 * client, as it would without this. */
STEP int heard_client(const struct pkt *p)
{
	if (!p)
		return 0;

	__u64 client = l2_word(&p->from);
	struct client_place *place = bpf_map_lookup_elem(&client_places, &client);
	struct control *c = the_control();

	if (IS_DRY || !place || !c || place->port == p->ingress)
		return 0;
	*(volatile __u32 *)&place->port = p->ingress;
	place->since = p->now;
	*(volatile __u32 *)&place->move = moves_so_far() + 1;
	__sync_fetch_and_add(&c->moves, 1);
	return 0;
}

/* The port to a client of which only the peer has told, or whose own port forwards no more: where its MAC is, else the
 * way out to all others. 0 when neither forwards. */
STEP __u32 port_by_mac(__u64 client, __u64 *own)
{
	if (!own)
		return 0;

	__u64 wanted[2] = {client, 0};
	int i;

#pragma unroll
	for (i = 0; i < 2; i++) {
		struct client_place *place = bpf_map_lookup_elem(&client_places, &wanted[i]);
		__u32 index = place ? place->port : 0;
		struct port *port = bpf_map_lookup_elem(&ports, &index);

		if (port && port->flags & LBD_PORT_FORWARDING) {
			__builtin_memcpy(own, port->mac, 6);
			return index;
		}
	}
	return 0;
}

/* The port to a client since whose latest packet something has moved: where its MAC has come meanwhile, else its own
 * still. 0 when that forwards no more. */
STEP __u32 port_after_moves(const struct rflow *r, __u64 *own)
{
	if (!r || !own)
		return 0;

	__u64 client = l2_word(&r->client);
	struct client_place *place = bpf_map_lookup_elem(&client_places, &client);
	__u32 index = r->client_port;
	struct port *port;

	if (place && (__s32)(place->move - r->moves) > 0)
		index = place->port;
	port = bpf_map_lookup_elem(&ports, &index);
	if (!port || !(port->flags & LBD_PORT_FORWARDING))
		return 0;
	__builtin_memcpy(own, port->mac, 6);
	return index;
}

/* Notes where a client was found: the next reply need not look, and the client's next packet corrects what was wrong. */
STEP int found_client(struct rflow *r, __u32 index, __u64 own, __u32 moves)
{
	if (!r)
		return 0;

	struct flow_key forward = r->forward;
	struct flow *f;

	if (IS_DRY)
		return 0;
	__builtin_memcpy(r->own.mac, &own, 6);
	r->client_port = index;
	r->moves = moves;
	f = bpf_map_lookup_elem(&flows, &forward);
	if (f)
		f->client_port = index;
	return 0;
}

/* By which port a reply leaves, and from which MAC. 0: only the kernel knows a way. */
static __always_inline __u32 port_to_client(struct rflow *r, __u64 *own)
{
	__u32 egress = r->client_port, moves = moves_so_far(), found;

	*own = l2_word(&r->own);
	if (egress == LBD_PORT_BY_MAC)
		return port_by_mac(l2_word(&r->client), own);
	if (!egress || r->moves == moves)
		return egress;
	found = port_after_moves(r, own);
	if (!found)
		found = port_by_mac(l2_word(&r->client), own);
	if (!found)
		return egress; /* where it is dropped and counted */
	found_client(r, found, *own, moves);
	return found;
}

#endif
