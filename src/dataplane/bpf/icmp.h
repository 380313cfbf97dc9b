/* ICMP errors, matched to the flow that they quote: path MTU discovery and port
 * unreachable work through the balancer (RFC 792, RFC 4443, RFC 5508). */
#ifndef LBD_ICMP_H
#define LBD_ICMP_H

#include "forward.h"

/* The quoted packet's addresses and ports. */
struct quote {
	struct addr src;
	struct addr dst;
	__be16 sport;
	__be16 dport;
	__u16 l3;
	__u16 l4;
	__u8 protocol;
};

static __always_inline bool is_icmp_error(const struct pkt *p)
{
	if (p->family == 4)
		return p->icmp_type == 3 || p->icmp_type == 11 || p->icmp_type == 12;
	return p->icmp_type >= 1 && p->icmp_type <= 4;
}

static __always_inline bool read_quote(struct xdp_md *ctx, const struct pkt *p, struct quote *q)
{
	__be16 *ports;

	q->l3 = p->l4 + sizeof(struct icmphdr);
	if (p->family == 4) {
		struct iphdr *ip = at(ctx, q->l3, sizeof(*ip));

		if (!ip || ip->version != 4 || ip->ihl < 5 || ip->frag_off & bpf_htons(0x1fff))
			return false;
		q->protocol = ip->protocol;
		q->l4 = q->l3 + ip->ihl * 4;
		set_v4(&q->src, ip->saddr);
		set_v4(&q->dst, ip->daddr);
	} else {
		struct ipv6hdr *ip = at(ctx, q->l3, sizeof(*ip));

		if (!ip || ip->version != 6)
			return false;
		q->protocol = ip->nexthdr;
		q->l4 = q->l3 + sizeof(*ip);
		__builtin_memcpy(&q->src, &ip->saddr, sizeof(q->src));
		__builtin_memcpy(&q->dst, &ip->daddr, sizeof(q->dst));
		if (q->protocol == IPPROTO_FRAGMENT) { /* a quoted first fragment */
			struct ipv6_fragment *fragment = at(ctx, q->l4, sizeof(*fragment));

			if (!fragment || fragment->offset & bpf_htons(0xfff8))
				return false;
			q->protocol = fragment->next;
			q->l4 += sizeof(*fragment);
		}
	}
	if (q->protocol != IPPROTO_TCP && q->protocol != IPPROTO_UDP)
		return false;
	ports = at(ctx, q->l4, 4);
	if (!ports)
		return false;
	q->sport = ports[0];
	q->dport = ports[1];
	return true;
}

/* Rewrites the quoted packet to `inner` and the error's own addresses to `outer`. */
static __noinline bool translate_quote(struct xdp_md *ctx, struct pkt *p, struct quote *q, const struct tuple *inner,
				       const struct tuple *outer)
{
	struct icmphdr *icmp;
	__be16 *ports;
	__u64 delta = delta_port(q->sport, inner->sport) + delta_port(q->dport, inner->dport);

	/* IPv4: the quoted header's own checksum absorbs its addresses. IPv6 has none,
	 * and ICMPv6 sums the outer addresses as well. */
	if (p->family == 6)
		delta += delta_addr(&q->src, &inner->src) + delta_addr(&q->dst, &inner->dst) +
			 delta_addr(&p->src, &outer->src) + delta_addr(&p->dst, &outer->dst);
	if (!put_addrs(ctx, q->l3, p->family, inner, 0) || !put_addrs(ctx, p->l3, p->family, outer, 1))
		return false;
	ports = at(ctx, q->l4, 4);
	icmp = at(ctx, p->l4, sizeof(*icmp));
	if (!ports || !icmp)
		return false;
	ports[0] = inner->sport;
	ports[1] = inner->dport;
	patch(&icmp->checksum, delta);
	return true;
}

/* About a packet that a server sent in the VIP's name: to that server. */
STEP int icmp_to_server(struct xdp_md *ctx, struct pkt *p, __u32 vip)
{
	if (!p)
		return XDP_ABORTED;

	struct scratch *w = the_scratch();
	struct quote q = {};
	struct flow_key key;
	struct flow *f;
	struct dest *d;
	__u64 own, to;
	__u32 egress;

	if (!w || !read_quote(ctx, p, &q) || !same_addr(&q.src, &p->dst))
		return give_up(p, REASON_DROP_ICMP_UNKNOWN);
	key.peer = q.dst;
	key.peer_port = q.dport;
	key.port = q.sport;
	key.local = vip | (q.protocol == IPPROTO_UDP ? LBD_LOCAL_UDP : 0);
	f = bpf_map_lookup_elem(&flows, &key);
	if (!f) {
		f = &w->forward.flow;
		if (!embryo_get(&key, p->now, &w->forward)) {
			/* Where a later packet of the flow would go: a connection without an entry (DSR). */
			struct service_key quoted = {.vip = vip, .port = q.sport, .protocol = q.protocol};
			__u32 *service = bpf_map_lookup_elem(&services, &quoted);

			if (!service || p->window == WINDOW_KNOWN)
				return give_up(p, REASON_DROP_ICMP_UNKNOWN);
			f->dest = choose(*service, &key, p->now, true);
			f->snat = 0;
			d = the_dest(f->dest);
			if (!d || d->mode != LBD_MODE_DSR)
				return give_up(p, REASON_DROP_ICMP_UNKNOWN);
		}
	}
	d = the_dest(f->dest);
	if (!d || !d->egress)
		return counted(REASON_DROP_NO_PLACE, XDP_DROP);
	if (d->mode != LBD_MODE_DSR) {
		w->quoted.src = d->addr;
		w->quoted.dst = q.dst;
		w->quoted.sport = d->port ? d->port : q.sport;
		w->quoted.dport = q.dport;
		w->tuple.src = p->src;
		w->tuple.dst = d->addr;
		if (f->snat) {
			__u32 index = f->snat - 1;
			struct snat *s = bpf_map_lookup_elem(&snats, &index);

			if (!s)
				return counted(REASON_DROP_ICMP_UNKNOWN, XDP_DROP);
			w->quoted.dst = s->addr;
			w->quoted.dport = f->snat_port;
		}
		if (ttl_of(ctx, p) <= 1)
			return counted(REASON_DROP_TTL, XDP_DROP);
		if (!translate_quote(ctx, p, &q, &w->quoted, &w->tuple))
			return counted(REASON_DROP_FRAME, XDP_DROP);
	}
	own = l2_word(&d->own);
	to = l2_word(&d->l2);
	egress = d->egress;
	return transmit(ctx, p, to, (__u8 *)&own, egress, REASON_ICMP_TO_SERVER);
}

/* About a packet that we sent to a server in NAT: to the client. Its sender is
 * the server itself, or a router before it; `snat` 0 or an address of ours. */
STEP int icmp_to_client(struct xdp_md *ctx, struct pkt *p, __u32 local)
{
	if (!p)
		return XDP_ABORTED;

	struct scratch *w = the_scratch();
	struct quote q = {};
	struct flow_key key;
	struct addr *vip;
	struct rflow *r;
	__u64 own = 0, to;
	__u32 index, egress;

	if (!w || !read_quote(ctx, p, &q))
		return NEXT;
	if (local & LBD_LOCAL_SNAT) {
		key.peer = q.dst;
		key.peer_port = q.dport;
		key.port = q.sport;
	} else {
		key.peer = q.src;
		key.peer_port = q.sport;
		key.port = q.dport;
	}
	key.local = local | (q.protocol == IPPROTO_UDP ? LBD_LOCAL_UDP : 0);
	r = bpf_map_lookup_elem(&rflows, &key);
	if (!r) {
		if (!embryo_get(&key, p->now, &w->reverse))
			return NEXT;
		r = &w->reverse.rflow;
	}
	index = r->forward.local & LBD_LOCAL_ID;
	vip = bpf_map_lookup_elem(&vips, &index);
	if (!vip)
		return counted(REASON_DROP_ICMP_UNKNOWN, XDP_DROP);
	w->quoted.src = r->forward.peer;
	w->quoted.dst = *vip;
	w->quoted.sport = r->forward.peer_port;
	w->quoted.dport = r->forward.port;
	w->tuple.src = *vip;
	w->tuple.dst = r->forward.peer;
	if (ttl_of(ctx, p) <= 1)
		return counted(REASON_DROP_TTL, XDP_DROP);
	if (!translate_quote(ctx, p, &q, &w->quoted, &w->tuple))
		return counted(REASON_DROP_FRAME, XDP_DROP);
	to = l2_word(&r->client);
	egress = port_to_client(r, &own);
	return transmit(ctx, p, to, (__u8 *)&own, egress, REASON_ICMP_TO_CLIENT);
}

#endif
