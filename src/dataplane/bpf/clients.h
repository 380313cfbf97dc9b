/* Where clients are: by which port a reply leaves. A flow keeps the port by which its client's latest packet came.
 * When uplinks have moved since, a client that waits in silence is somewhere else now, and would not be found until
 * it spoke: so the flow goes where its MAC, mostly that of a router, has been heard or learnt since. The daemon finds
 * clients by the same rule (src/dataplane/clients.rs). */
#ifndef LBD_CLIENTS_H
#define LBD_CLIENTS_H

#include "base.h"

static __always_inline __u32 moves_so_far(void)
{
	struct control *c = the_control();

	return c ? *(volatile __u64 *)&c->moves : 0;
}

/* A client was heard. If it is another port than before, all others behind the same router are there too: they look
 * at their next reply, for which the move is counted last. `moved`: the client itself was elsewhere, so that its
 * place is worth an entry. */
STEP int heard_client(const struct pkt *p, bool moved)
{
	if (!p)
		return 0;

	__u64 client = l2_word(&p->from);
	struct client_place *place = bpf_map_lookup_elem(&client_places, &client);
	struct control *c = the_control();

	if (IS_DRY || !c)
		return 0;
	if (place) {
		if (place->port == p->ingress)
			return 0;
		*(volatile __u32 *)&place->port = p->ingress;
		*(volatile __u64 *)&place->since = p->now;
	} else if (moved) {
		struct client_place new = {.since = p->now, .port = p->ingress};

		if (bpf_map_update_elem(&client_places, &client, &new, BPF_NOEXIST))
			return 0;
	} else {
		return 0;
	}
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

/* The port to a client, when something has moved since the flow looked last: that of its MAC, if it has been there since the
 * client's latest packet, else its own. Noted, so that the next reply need not look; the client's next packet corrects
 * what was wrong. 0 when neither forwards. */
STEP __u32 port_after_moves(struct rflow *r, __u32 moves, __u64 *own)
{
	if (!r || !own)
		return 0;

	__u64 client = l2_word(&r->client);
	struct client_place *place = bpf_map_lookup_elem(&client_places, &client);
	struct flow_key forward = r->forward;
	struct flow *f = bpf_map_lookup_elem(&flows, &forward);
	__u32 index = r->client_port;
	struct port *port = NULL;

	if (f && place && place->since >= f->last_seen && place->port != index) {
		__u32 moved = place->port;

		port = bpf_map_lookup_elem(&ports, &moved);
		if (port && port->flags & LBD_PORT_FORWARDING)
			index = moved;
		else
			port = NULL;
	}
	if (!port)
		port = bpf_map_lookup_elem(&ports, &index);
	if (!port || !(port->flags & LBD_PORT_FORWARDING))
		return 0;
	__builtin_memcpy(own, port->mac, 6);
	if (IS_DRY)
		return index;
	__builtin_memcpy(r->own.mac, port->mac, 6);
	r->client_port = index;
	r->moves = moves;
	if (f)
		f->client_port = index;
	return index;
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
	found = port_after_moves(r, moves, own);
	if (!found)
		found = port_by_mac(l2_word(&r->client), own);
	return found ? found : egress; /* by its own it is dropped and counted */
}

#endif
