/* From clients to servers, and back. */
#ifndef LBD_FORWARD_H
#define LBD_FORWARD_H

#include "answer.h"
#include "clients.h"
#include "flows.h"
#include "lease.h"
#include "rewrite.h"
#include "schedule.h"

/* Packets that a UDP flow in DSR, or advances of the ACK that a TCP flow in DSR,
 * must show before it counts as proven: a greeting, and two answers. */
#define PROGRESS_PROVEN 3
#define SNAT_TRIES 64

/* The slow path's variables: too large for the stack that the steps share. One
 * per CPU; the program is not re-entered on a CPU. */
struct scratch {
	struct embryo forward;
	struct embryo reverse;
	struct tuple tuple;
	struct tuple quoted; /* ICMP errors: of the packet that they quote */
};
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, scratch, __u32, struct scratch, 1, 0);

static __always_inline struct scratch *the_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

static __always_inline void account_in(__u32 dest, const struct pkt *p)
{
	struct traffic *t = bpf_map_lookup_elem(&traffic, &dest);

	if (t) {
		t->packets_in++;
		t->bytes_in += p->l3_bytes;
	}
}

static __always_inline void account_out(__u32 dest, const struct pkt *p)
{
	struct traffic *t = bpf_map_lookup_elem(&traffic, &dest);

	if (t) {
		t->packets_out++;
		t->bytes_out += p->l3_bytes;
	}
}

/* NAT: the frame's destination becomes the server, in full NAT its source ours. */
STEP int translate_to_server(struct xdp_md *ctx, struct pkt *p, struct dest *d, __u32 snat, __be16 snat_port)
{
	if (!p || !d)
		return XDP_ABORTED;

	struct tuple to = {.src = p->src, .dst = d->addr, .sport = p->sport, .dport = d->port ? d->port : p->dport};

	if (snat) {
		__u32 index = snat - 1;
		struct snat *s = bpf_map_lookup_elem(&snats, &index);

		if (!s)
			return counted(REASON_DROP_SNAT_EXHAUSTED, XDP_DROP);
		to.src = s->addr;
		to.sport = snat_port;
	}
	if (ttl_of(ctx, p) <= 1)
		return counted(REASON_DROP_TTL, XDP_DROP);
	if (!translate(ctx, p, &to))
		return counted(REASON_DROP_FRAME, XDP_DROP);
	return NEXT;
}

static __always_inline int to_server(struct xdp_md *ctx, struct pkt *p, __u32 dest, struct dest *d, __u32 snat,
				     __be16 snat_port, __u32 reason)
{
	__u64 own = l2_word(&d->own);
	__u32 egress = *(const volatile __u32 *)&d->egress;

	tell_whose(&p->src, d->service, dest);
	if (!egress)
		return counted(REASON_DROP_NO_PLACE, XDP_DROP);
	account_in(dest, p);
	if (d->mode != LBD_MODE_DSR) {
		int verdict = translate_to_server(ctx, p, d, snat, snat_port);

		if (verdict != NEXT)
			return verdict;
	}
	return transmit(ctx, p, l2_word(&d->l2), (__u8 *)&own, egress, reason);
}

/* -- new flows ------------------------------------------------------------------ */

struct snat_search {
	__u64 now;
	__u32 hash;
	__u32 family;
	__u32 udp;
	__u32 found;
};

static long try_snat(__u32 i, void *context)
{
	struct snat_search *s = context;
	struct scratch *w = the_scratch();
	struct control *c = the_control();
	__u32 n, index, range;
	struct snat *pool;

	if (!w || !c)
		return 1;
	n = s->family == 4 ? c->snats4 : c->snats6;
	if (!n)
		return 1;
	index = (s->hash + i) % n + (s->family == 4 ? 0 : LBD_SNATS6);
	pool = bpf_map_lookup_elem(&snats, &index);
	if (!pool || !pool->open)
		return 0;
	range = (__u32)pool->last - pool->first + 1;
	w->reverse.key.port = bpf_htons(pool->first + (s->hash / 7 + i * 4099) % range);
	w->reverse.key.local = LBD_LOCAL_SNAT | index | s->udp;
	if (bpf_map_lookup_elem(&rflows, &w->reverse.key))
		return 0;
	if (embryo_put(&w->reverse, s->now) == EMBRYO_TAKEN)
		return 0;
	s->found = 1;
	return 1;
}

/* Finds a source address and port of ours that no other flow to this server's
 * port uses, and enters the way back under it. */
static __always_inline int take_snat(struct pkt *p, struct dest *d)
{
	struct scratch *w = the_scratch();
	struct snat_search s = {.now = p->now, .family = p->family, .hash = bpf_get_prandom_u32()};

	if (!w)
		return false;
	s.udp = w->forward.key.local & LBD_LOCAL_UDP;
	w->reverse.key.peer = d->addr;
	w->reverse.key.peer_port = d->port ? d->port : p->dport;
	bpf_loop(SNAT_TRIES, try_snat, &s, 0);
	if (!s.found)
		return false;
	w->forward.flow.snat = (w->reverse.key.local & 0xffff) + 1;
	w->forward.flow.snat_port = w->reverse.key.port;
	return true;
}

/* Fills in the way back of the flow in `w->forward`: all that a reply needs. */
static __always_inline void describe_way_back(const struct pkt *p, struct scratch *w)
{
	struct rflow *r = &w->reverse.rflow;

	r->last_seen = p->now;
	r->last_ack = p->tcp_seq; /* as far as the server can know, until it says so itself */
	r->moves = moves_so_far();
	r->forward = w->forward.key;
	r->dest = w->forward.flow.dest;
	r->client_port = w->forward.flow.client_port;
	r->client = w->forward.flow.client;
	__builtin_memcpy(r->own.mac, p->own, 6);
	r->own.vlan = 0;
}

/* Enters the way back of the NAT flow in `scratch->forward`. A client on the
 * servers' own segment would be answered past the balancer, and so gets full
 * NAT; so does one whose port the server already sees from another flow. */
STEP int enter_reverse(struct pkt *p, struct dest *d)
{
	if (!p || !d)
		return XDP_ABORTED;

	struct scratch *w = the_scratch();
	struct prefix_key where = {.length = 128, .addr = p->src};

	if (!w)
		return XDP_ABORTED;
	w->reverse.expires = w->forward.expires;
	describe_way_back(p, w);
	if (w->forward.flow.snat) { /* a repeated first packet: keep the port if it is still free */
		reverse_key(&w->forward.key, &w->forward.flow, d, &w->reverse.key);
		if (!bpf_map_lookup_elem(&rflows, &w->reverse.key) && embryo_put(&w->reverse, p->now) != EMBRYO_TAKEN)
			return NEXT;
		w->forward.flow.snat = 0;
	}
	if (d->mode == LBD_MODE_NAT && !bpf_map_lookup_elem(&inside, &where)) {
		struct rflow *taken;

		reverse_key(&w->forward.key, &w->forward.flow, d, &w->reverse.key);
		taken = bpf_map_lookup_elem(&rflows, &w->reverse.key);
		if (!taken && embryo_put(&w->reverse, p->now) != EMBRYO_TAKEN)
			return NEXT;
		if (take_snat(p, d))
			return NEXT;
		return counted(REASON_DROP_NAT_COLLISION, XDP_DROP);
	}
	if (take_snat(p, d))
		return NEXT;
	return counted(REASON_DROP_SNAT_EXHAUSTED, XDP_DROP);
}

/* A flow whose first packets went both ways becomes established, if there is room. */
STEP int promote(struct pkt *p, __u32 service, struct dest *d)
{
	if (!p || !d)
		return 0;

	struct scratch *w = the_scratch();
	struct flow_key reverse;
	bool both_ways;

	if (!w)
		return 0;
	if (IS_DRY)
		return 1;
	w->forward.flow.last_seen = p->now;
	if (d->mode != LBD_MODE_DSR)
		w->forward.flow.state |= LBD_FLOW_PROVEN;
	both_ways = reverse_key(&w->forward.key, &w->forward.flow, d, &reverse);
	if (both_ways) {
		w->reverse.key = reverse;
		describe_way_back(p, w);
		if (bpf_map_update_elem(&rflows, &reverse, &w->reverse.rflow, BPF_NOEXIST)) {
			count(REASON_TABLE_FULL);
			return 0;
		}
	}
	if (bpf_map_update_elem(&flows, &w->forward.key, &w->forward.flow, BPF_NOEXIST)) {
		if (both_ways)
			bpf_map_delete_elem(&rflows, &reverse);
		count(REASON_TABLE_FULL);
		return 0;
	}
	count(REASON_FLOW_ENTERED);
	add_active(w->forward.flow.dest, 1);
	sync_tell(LBD_SYNC_PUT, &w->forward.key, &w->forward.flow, both_ways ? w->reverse.rflow.last_ack : 0, p->now);
	embryo_remove(&w->forward.key, p->now);
	if (both_ways)
		embryo_remove(&w->reverse.key, p->now);
	persist_bind(service, &w->forward.key, w->forward.flow.dest, p->now, true);
	return 1;
}

static __always_inline void forget_embryo(struct pkt *p, struct dest *d)
{
	struct scratch *w = the_scratch();

	if (!w)
		return;
	embryo_remove(&w->forward.key, p->now);
	if (reverse_key(&w->forward.key, &w->forward.flow, d, &w->reverse.key))
		embryo_remove(&w->reverse.key, p->now);
}

/* A packet of a flow in its beginnings: `scratch->forward` holds the embryo. */
static __always_inline int known_embryo(struct xdp_md *ctx, struct pkt *p, __u32 service, struct dest *d)
{
	struct scratch *w = the_scratch();
	struct service *s = bpf_map_lookup_elem(&service_settings, &service);
	bool dsr = d->mode == LBD_MODE_DSR;
	bool proven;
	__u64 life;

	if (!w || !s)
		return XDP_ABORTED;
	w->forward.flow.last_seen = p->now;
	if (!p->relayed) {
		if (w->forward.flow.client_port != p->ingress)
			heard_client(p, true);
		w->forward.flow.client = p->from;
		w->forward.flow.client_port = p->ingress;
	}
	life = s->embryonic_ns;
	if (p->protocol == IPPROTO_UDP) {
		life = s->udp_ns;
		w->forward.flow.progress++;
		proven = dsr ? w->forward.flow.progress >= PROGRESS_PROVEN : w->forward.flow.state & LBD_FLOW_REPLY;
		if (s->udp_life == LBD_UDP_PER_PACKET)
			proven = false;
	} else if (p->tcp_flags & TCP_RST) {
		/* A client that waits for its server's answer refuses with the number it was told whatever else comes to its
		 * port, say from a server that still holds an older connection, and goes on waiting (RFC 9293, 3.10.7.3). */
		if (p->tcp_seq == w->forward.flow.last_ack)
			forget_embryo(p, d);
		return NEXT;
	} else if (p->tcp_flags & TCP_SYN || p->fragment == FRAGMENT_LATER) { /* a later fragment has no flags */
		proven = false;
		if (p->fragment != FRAGMENT_LATER)
			w->forward.flow.last_ack = after_syn(p);
	} else {
		proven = dsr || w->forward.flow.state & LBD_FLOW_REPLY;
		w->forward.flow.last_ack = p->tcp_ack;
		if (p->tcp_flags & TCP_FIN)
			w->forward.flow.state |= LBD_FLOW_CLIENT_FIN;
	}
	if (proven && p->protocol == IPPROTO_TCP && !below_limit(d, false)) {
		/* More handshakes were under way than there was room for. */
		forget_embryo(p, d);
		return refuse(ctx, p, REASON_RST_NO_SERVER, REASON_DROP_NO_SERVER);
	}
	if (proven && promote(p, service, d)) {
		if (w->forward.flow.state & LBD_FLOW_CLIENT_FIN) {
			struct flow *f = bpf_map_lookup_elem(&flows, &w->forward.key);

			if (f)
				flow_mark(&w->forward.key, f, LBD_FLOW_CLIENT_FIN, dsr, p->now);
		}
		return NEXT;
	}
	if (proven && p->protocol == IPPROTO_TCP) /* the table is full: live on here as long as may be */
		life = s->unproven_ns;
	w->forward.expires = p->now + life;
	if (!dsr) {
		int verdict = enter_reverse(p, d);

		if (verdict != NEXT)
			return verdict;
	}
	embryo_put(&w->forward, p->now);
	return NEXT;
}

/* No flow is established for the packet: an embryo's, a first packet, or a stray. */
STEP int unknown_flow(struct xdp_md *ctx, struct pkt *p, __u32 vip)
{
	if (!p)
		return XDP_ABORTED;

	struct service_key wanted = {.vip = vip, .port = p->dport, .protocol = p->protocol};
	struct scratch *w = the_scratch();
	__u8 begins = p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST);
	bool first = p->protocol == IPPROTO_UDP || begins == TCP_SYN;
	bool opened; /* by the server, whose SYN went past us: active FTP in DSR */
	__u32 *known = bpf_map_lookup_elem(&services, &wanted);
	struct service *s;
	__u32 service, dest;
	struct flow_key key;
	struct dest *d;
	bool each, single;

	if (!known)
		return refuse(ctx, p, REASON_RST_NO_SERVICE, REASON_DROP_NO_SERVICE);
	service = *known;
	s = bpf_map_lookup_elem(&service_settings, &service);
	tell_whose(&p->src, service, LBD_DEST_NONE);
	if (!s || !w)
		return counted(REASON_DROP_NO_SERVICE, XDP_DROP);
	key.peer = p->src;
	key.peer_port = p->sport;
	key.port = p->dport;
	key.local = vip | (p->protocol == IPPROTO_UDP ? LBD_LOCAL_UDP : 0);

	/* Per packet, a datagram in fragments is kept so that these stay together, until the next one. */
	each = p->protocol == IPPROTO_UDP && s->udp_life == LBD_UDP_PER_PACKET;
	single = each && p->fragment == FRAGMENT_NONE;
	if ((!each || p->fragment == FRAGMENT_LATER) && embryo_get(&key, p->now, &w->forward)) {
		bool over = p->protocol == IPPROTO_UDP && s->udp_life == LBD_UDP_MAX_AGE &&
			    elapsed(p->now, w->forward.flow.created) > s->udp_max_age_ns;

		dest = w->forward.flow.dest;
		d = the_dest(dest);
		if (d && !(d->flags & LBD_DEST_DOWN) && !over) {
			int verdict = known_embryo(ctx, p, service, d);

			tell_how(LBD_HOW_EMBRYO);
			if (verdict != NEXT)
				return verdict;
			return to_server(ctx, p, dest, d, w->forward.flow.snat, w->forward.flow.snat_port,
					 REASON_FORWARDED);
		}
		embryo_remove(&key, p->now);
	}
	if (p->window == WINDOW_KNOWN)
		return give_up(p, REASON_DROP_NO_FLOW);
	if (p->protocol == IPPROTO_TCP && !(p->tcp_flags & TCP_SYN) && p->fragment == FRAGMENT_NONE) {
		int verdict = pass_back(ctx, p);

		if (verdict != NEXT)
			return verdict;
	}

	opened = p->protocol == IPPROTO_TCP && begins == (TCP_SYN | TCP_ACK) && p->dport == s->active_port;
	dest = choose(service, &key, p->now, !first);
	d = the_dest(dest);
	if (!first && !(opened && d && d->mode == LBD_MODE_DSR)) {
		/* Nothing is entered for it, or a flood of ACKs could fill the table. */
		if (d && d->mode == LBD_MODE_DSR)
			return to_server(ctx, p, dest, d, 0, 0, REASON_HASHED);
		return refuse(ctx, p, REASON_RST_NO_FLOW, REASON_DROP_NO_FLOW);
	}
	if (!d)
		return refuse(ctx, p, REASON_RST_NO_SERVER, REASON_DROP_NO_SERVER);

	__builtin_memset(&w->forward, 0, sizeof(w->forward));
	w->forward.key = key;
	w->forward.expires = p->now + (p->protocol == IPPROTO_UDP ? s->udp_ns : s->embryonic_ns);
	w->forward.flow.created = p->now;
	w->forward.flow.last_seen = p->now;
	w->forward.flow.dest = dest;
	w->forward.flow.client = p->from;
	w->forward.flow.client_port = p->ingress;
	w->forward.flow.progress = p->protocol == IPPROTO_UDP;
	if (!p->relayed)
		heard_client(p, false);
	if (p->protocol == IPPROTO_TCP)
		w->forward.flow.last_ack = after_syn(p);
	if (d->mode != LBD_MODE_DSR) {
		int verdict = enter_reverse(p, d);

		if (verdict != NEXT)
			return verdict;
	}
	if (!single)
		embryo_put(&w->forward, p->now);
	{
		struct conns *c = IS_DRY ? NULL : bpf_map_lookup_elem(&conns, &dest);

		if (c)
			__sync_fetch_and_add(&c->total, 1);
	}
	persist_bind(service, &key, dest, p->now, false);
	return to_server(ctx, p, dest, d, w->forward.flow.snat, w->forward.flow.snat_port, REASON_FORWARDED);
}

/* -- established flows -------------------------------------------------------------- */

/* The way back to the client has changed (its router's MAC, VLAN or port), or is heard
 * here for the first time, after the peer has told of it. */
STEP int follow_client(const struct flow_key *key, struct flow *f, const struct dest *d, struct pkt *p)
{
	if (!key || !f || !d || !p)
		return 0;

	struct flow_key reverse;
	struct rflow *r;

	if (IS_DRY)
		return 0;
	heard_client(p, true);
	*(volatile __u64 *)&f->client = l2_word(&p->from);
	f->client_port = p->ingress;
	if (f->state & LBD_FLOW_SYNCED)
		__sync_fetch_and_and(&f->state, ~LBD_FLOW_SYNCED);
	r = reverse_key(key, f, d, &reverse) ? bpf_map_lookup_elem(&rflows, &reverse) : NULL;
	if (r) {
		*(volatile __u64 *)&r->client = l2_word(&p->from);
		__builtin_memcpy(r->own.mac, p->own, 6);
		r->client_port = p->ingress;
		r->moves = moves_so_far();
	}
	sync_tell(LBD_SYNC_PUT, key, f, r ? r->last_ack : 0, p->now);
	return 0;
}

/* True if the entry no longer stands for a live flow, and has been removed. */
STEP int is_over(const struct flow_key *key, struct flow *f, struct dest *d, struct pkt *p)
{
	if (!key || !f || !d || !p)
		return true;

	const __u32 ended = LBD_FLOW_CLIENT_FIN | LBD_FLOW_SERVER_FIN | LBD_FLOW_CLIENT_RST | LBD_FLOW_SERVER_RST;
	bool over = false;

	if (elapsed(p->now, f->last_seen) > 1000000000ULL) /* no timeout is shorter */
		over = flow_expired(key, f, d, p->now);
	if (p->protocol == IPPROTO_TCP) {
		/* A new connection from (or, opened by the server, to) the same port: the old one's end was seen. */
		if (p->tcp_flags & TCP_SYN && f->state & ended)
			over = true;
	} else {
		__u32 service = d->service;
		struct service *s = bpf_map_lookup_elem(&service_settings, &service);

		if (!p->window && d->flags & LBD_DEST_DOWN && !(s && s->on_failure == LBD_ON_FAILURE_KEEP))
			over = true;
		if (s && s->udp_life == LBD_UDP_MAX_AGE && elapsed(p->now, f->created) > s->udp_max_age_ns)
			over = true;
		if (s && s->udp_life == LBD_UDP_PER_PACKET)
			over = true;
	}
	if (over) {
		struct flow_key ended_key = *key; /* see server_end */

		flow_remove(&ended_key, f, d, false);
	}
	return over;
}

static __always_inline void follow_tcp(const struct flow_key *key, struct flow *f, struct dest *d, struct pkt *p)
{
	bool dsr = d->mode == LBD_MODE_DSR;
	__u32 bits = 0;

	if (IS_DRY || p->fragment == FRAGMENT_LATER)
		return;
	if (p->tcp_flags & TCP_FIN)
		bits |= LBD_FLOW_CLIENT_FIN;
	if (p->tcp_flags & TCP_RST)
		bits |= LBD_FLOW_CLIENT_RST;
	else if (f->state & LBD_FLOW_CLIENT_RST && !has_ended(f->state & ~LBD_FLOW_CLIENT_RST, dsr))
		flow_revive(key, f, LBD_FLOW_CLIENT_RST, p->now);
	if (bits)
		flow_mark(key, f, bits, dsr, p->now);
	if (p->tcp_flags & TCP_ACK && p->tcp_ack != f->last_ack) {
		f->last_ack = p->tcp_ack;
		if (!(f->state & LBD_FLOW_PROVEN) && ++f->progress >= PROGRESS_PROVEN)
			flow_mark(key, f, LBD_FLOW_PROVEN, dsr, p->now);
	}
}

STEP int failed_server(struct xdp_md *ctx, struct pkt *p, const struct flow_key *key, struct flow *f, struct dest *d)
{
	if (!p || !key || !f || !d)
		return XDP_ABORTED;

	__u32 service = d->service;
	struct service *s = bpf_map_lookup_elem(&service_settings, &service);

	tell_whose(&p->src, d->service, f->dest);
	/* The owner may still reach a server that this box has lost: the flow is left alone. */
	if (p->window || (s && s->on_failure == LBD_ON_FAILURE_KEEP))
		return give_up(p, REASON_DROP_DOWN);
	if (!IS_DRY) /* if this RST is lost, the next packet must find the entry */
		flow_end(key, f, d->mode == LBD_MODE_DSR, p->now);
	return refuse(ctx, p, REASON_RST_DOWN, REASON_DROP_DOWN);
}

/* A packet to a VIP. */
static __always_inline int to_vip(struct xdp_md *ctx, struct pkt *p, __u32 vip)
{
	struct flow_key key;
	struct flow *f;

	key.peer = p->src;
	key.peer_port = p->sport;
	key.port = p->dport;
	key.local = vip | (p->protocol == IPPROTO_UDP ? LBD_LOCAL_UDP : 0);
	f = bpf_map_lookup_elem(&flows, &key);
	if (f) {
		__u32 dest = f->dest;
		struct dest *d = the_dest(dest);

		if (d) {
			bool tcp = p->protocol == IPPROTO_TCP;

			if ((tcp && !(p->tcp_flags & TCP_SYN) && elapsed(p->now, f->last_seen) <= 1000000000ULL) ||
			    !is_over(&key, f, d, p)) {
				__u32 snat = f->snat;
				__be16 snat_port = f->snat_port;

				tell_how(LBD_HOW_FLOW | (f->state & LBD_FLOW_SYNCED ? LBD_HOW_SYNCED : 0));
				if (d->flags & LBD_DEST_DOWN)
					return failed_server(ctx, p, &key, f, d);
				if (!IS_DRY)
					f->last_seen = p->now;
				if (!p->relayed &&
				    (l2_word(&f->client) != l2_word(&p->from) || f->client_port != p->ingress))
					follow_client(&key, f, d, p);
				if (tcp)
					follow_tcp(&key, f, d, p);
				else if (!(f->state & LBD_FLOW_PROVEN))
					flow_mark(&key, f, LBD_FLOW_PROVEN, false, p->now);
				return to_server(ctx, p, dest, d, snat, snat_port, REASON_FORWARDED);
			}
		} else if (!IS_DRY) {
			sync_tell(LBD_SYNC_GONE, &key, f, 0, p->now);
			if (!bpf_map_delete_elem(&flows, &key))
				count(REASON_FLOW_REMOVED); /* a closed flow, whose server has left since */
		}
	}
	return unknown_flow(ctx, p, vip);
}

/* -- from servers, NAT ------------------------------------------------------------- */

/* Back to the client under the name that it knows. */
STEP int to_client(struct xdp_md *ctx, struct pkt *p, struct rflow *r)
{
	if (!p || !r)
		return XDP_ABORTED;

	__u32 vip = r->forward.local & LBD_LOCAL_ID;
	struct addr *a = bpf_map_lookup_elem(&vips, &vip);
	struct scratch *w = the_scratch();
	__u32 egress, dest = r->dest;
	__u64 own = 0, client = l2_word(&r->client);
	struct tuple *to;

	if (IS_TOLD) {
		struct dest *d = the_dest(dest);

		tell_whose(&r->forward.peer, d ? d->service : LBD_DEST_NONE, dest);
	}

	if (!a || !w)
		return counted(REASON_DROP_NO_SERVICE, XDP_DROP);
	to = &w->tuple;
	to->src = *a;
	to->dst = r->forward.peer;
	to->sport = r->forward.port;
	to->dport = r->forward.peer_port;
	if (ttl_of(ctx, p) <= 1)
		return counted(REASON_DROP_TTL, XDP_DROP);
	account_out(r->dest, p);
	if (!translate(ctx, p, to))
		return counted(REASON_DROP_FRAME, XDP_DROP);
	egress = port_to_client(r, &own);
	if (!egress) /* no packet of the client has come, and only the kernel knows a way to it */
		return counted(REASON_PASS_OPENED, XDP_PASS);
	return transmit(ctx, p, client, (__u8 *)&own, egress, REASON_RETURNED);
}

/* The server has closed, reset, or is heard again after a stray RST. */
STEP int server_end(struct pkt *p, const struct flow_key *key)
{
	if (!p || !key || IS_DRY)
		return 0;

	struct flow_key forward = *key; /* Linux 6.1 takes no argument of a step as the key of a map */
	struct flow *f = bpf_map_lookup_elem(&flows, &forward);
	__u32 bits = 0;

	if (!f)
		return 0;
	if (p->tcp_flags & TCP_FIN)
		bits |= LBD_FLOW_SERVER_FIN;
	if (p->tcp_flags & TCP_RST)
		bits |= LBD_FLOW_SERVER_RST;
	flow_mark(&forward, f, bits, false, p->now);
	return 0;
}

STEP int embryo_reply(struct xdp_md *ctx, struct pkt *p, const struct flow_key *key)
{
	if (!p || !key)
		return XDP_ABORTED;

	struct scratch *w = the_scratch();

	if (!w || !embryo_get(key, p->now, &w->reverse))
		return NEXT;
	tell_how(LBD_HOW_EMBRYO);
	if (p->protocol == IPPROTO_TCP && p->tcp_flags & TCP_RST) {
		embryo_remove(&w->reverse.rflow.forward, p->now);
		embryo_remove(key, p->now);
	} else {
		embryo_mark(&w->reverse.rflow.forward, p->now, LBD_FLOW_REPLY);
	}
	return to_client(ctx, p, &w->reverse.rflow);
}

static __always_inline bool serves(__u32 vip, __be16 port, __u32 service)
{
	struct service_key which = {.vip = vip, .port = port, .protocol = IPPROTO_TCP};
	__u32 *found = bpf_map_lookup_elem(&services, &which);

	return found && *found == service;
}

/* The address at which the client has its session with the server, as far as its binding
 * tells, else the service's first. */
static __always_inline __u32 active_vip(const struct dest *d, const struct service *s, const struct pkt *p)
{
	struct persist *bound = binding_of(s, &p->dst, p->now);

	if (bound && bound->server == d->server && serves(bound->vip, s->active_port, d->service))
		return bound->vip;
	return s->active_vip;
}

/* A server opens a connection to a client, from the port that its service has for that
 * (active FTP). Entered as a client's first packet would be, the other way round: the
 * client's answer is then the packet of a known handshake. */
STEP int server_opens(struct xdp_md *ctx, struct pkt *p, const struct flow_key *key)
{
	if (!p || !key)
		return XDP_ABORTED;

	struct active_key which = {.server = key->local & LBD_LOCAL_ID, .port = key->port, .family = p->family};
	__u32 *known = bpf_map_lookup_elem(&actives, &which);
	struct scratch *w = the_scratch();
	struct service *s;
	struct conns *c;
	struct dest *d;
	__u32 service, dest;

	if (!known || !w)
		return NEXT;
	dest = *known;
	d = the_dest(dest);
	if (!d || d->flags & LBD_DEST_DOWN)
		return NEXT;
	service = d->service;
	s = bpf_map_lookup_elem(&service_settings, &service);
	if (!s)
		return NEXT;
	__builtin_memset(&w->forward, 0, sizeof(w->forward));
	w->forward.key.peer = p->dst;
	w->forward.key.peer_port = p->dport;
	w->forward.key.port = s->active_port;
	w->forward.key.local = active_vip(d, s, p);
	w->forward.expires = p->now + s->embryonic_ns;
	w->forward.flow.created = p->now;
	w->forward.flow.last_seen = p->now;
	w->forward.flow.dest = dest;
	__builtin_memset(&w->reverse, 0, sizeof(w->reverse));
	w->reverse.key = *key;
	w->reverse.expires = w->forward.expires;
	w->reverse.rflow.last_seen = p->now;
	w->reverse.rflow.forward = w->forward.key;
	w->reverse.rflow.dest = dest;
	if (embryo_put(&w->reverse, p->now) == EMBRYO_TAKEN)
		return counted(REASON_DROP_NAT_COLLISION, XDP_DROP);
	embryo_put(&w->forward, p->now);
	c = IS_DRY ? NULL : bpf_map_lookup_elem(&conns, &dest);
	if (c)
		__sync_fetch_and_add(&c->total, 1);
	return to_client(ctx, p, &w->reverse.rflow);
}

/* A server opens a connection where one to the same client port has ended: true, and the old one is forgotten. */
STEP int has_made_way(const struct flow_key *key)
{
	if (!key)
		return 0;

	const __u32 ended = LBD_FLOW_CLIENT_FIN | LBD_FLOW_SERVER_FIN | LBD_FLOW_CLIENT_RST | LBD_FLOW_SERVER_RST;
	struct flow_key back = *key, forward; /* see server_end */
	struct rflow *r = bpf_map_lookup_elem(&rflows, &back);
	struct flow *f;
	struct dest *d;
	__u32 dest;

	if (!r)
		return true;
	forward = r->forward;
	f = bpf_map_lookup_elem(&flows, &forward);
	if (!f) {
		if (!IS_DRY)
			bpf_map_delete_elem(&rflows, &back);
		return true;
	}
	dest = f->dest;
	d = the_dest(dest);
	if (!d || !(f->state & ended))
		return false;
	flow_remove(&forward, f, d, false);
	return true;
}

/* The server's first packet, to a client that it calls back. */
static __always_inline bool is_opening(const struct pkt *p, const struct flow_key *key)
{
	return p->protocol == IPPROTO_TCP && (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN &&
	       p->fragment != FRAGMENT_LATER && key->local & LBD_LOCAL_SERVER && p->window != WINDOW_KNOWN;
}

/* A server answers a client whose connection only the other box may know: what it says to its own
 * segment is for no client of NAT, but for a machine there, such as this box itself, which probes it. */
static __always_inline bool is_to_client(const struct pkt *p, const struct flow_key *key)
{
	struct prefix_key where = {.length = 128, .addr = p->src};

	if (p->fragment != FRAGMENT_NONE)
		return false;
	if (key->local & LBD_LOCAL_SNAT)
		return true;
	if (!bpf_map_lookup_elem(&inside, &where))
		return false;
	where.addr = p->dst;
	return !bpf_map_lookup_elem(&inside, &where);
}

/* `key` names the way back: by the server's id, or by a source address of ours. */
static __always_inline int from_server(struct xdp_md *ctx, struct pkt *p, const struct flow_key *key)
{
	struct rflow *r = bpf_map_lookup_elem(&rflows, key);
	int verdict;

	if (!r) {
		verdict = embryo_reply(ctx, p, key);
		if (verdict != NEXT)
			return verdict;
		if (is_opening(p, key))
			return server_opens(ctx, p, key);
		return is_to_client(p, key) ? pass_back(ctx, p) : NEXT;
	}
	if (is_opening(p, key) && has_made_way(key))
		return server_opens(ctx, p, key);
	tell_how(LBD_HOW_FLOW);
	if (IS_DRY)
		return to_client(ctx, p, r);
	r->last_seen = p->now;
	if (p->protocol == IPPROTO_TCP && p->fragment != FRAGMENT_LATER) {
		if (p->tcp_flags & TCP_ACK && r->last_ack != p->tcp_ack)
			r->last_ack = p->tcp_ack;
		if (p->tcp_flags & (TCP_FIN | TCP_RST))
			server_end(p, &r->forward);
	}
	return to_client(ctx, p, r);
}

#endif
