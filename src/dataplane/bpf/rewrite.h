/* Changing a frame and sending it: checksums are updated, not recomputed (RFC 1624). */
#ifndef LBD_REWRITE_H
#define LBD_REWRITE_H

#include "base.h"
#include "parse.h"

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Sum to add to a checksum when 16 bytes change from `from` to `to`. */
static __always_inline __u64 delta_addr(const struct addr *from, const struct addr *to)
{
	__u64 sum = 0;
	int i;

#pragma unroll
	for (i = 0; i < 4; i++)
		sum += (__u64)(__u32)~from->word[i] + to->word[i];
	return sum;
}

static __always_inline __u64 delta_port(__be16 from, __be16 to)
{
	return (__u64)(__u16)~from + to;
}

static __always_inline void patch(__sum16 *checksum, __u64 delta)
{
	*checksum = ~fold((__u16)~*checksum + delta);
}

/* The four things that a translation changes; equal to the old where unchanged. */
struct tuple {
	struct addr src;
	struct addr dst;
	__be16 sport;
	__be16 dport;
};

/* Writes addresses into the IP header at `l3`, keeps its checksum right, and
 * lowers the TTL by `hops`. */
static __always_inline bool put_addrs(struct xdp_md *ctx, __u32 l3, __u8 family, const struct tuple *to, __u8 hops)
{
	if (family == 4) {
		struct iphdr *ip = at(ctx, l3, sizeof(*ip));
		__u64 delta;

		if (!ip)
			return false;
		delta = (__u64)(__u32)~ip->saddr + to->src.word[3] + (__u32)~ip->daddr + to->dst.word[3];
		/* The TTL is the upper byte of its 16-bit word. */
		delta += delta_port(bpf_htons((__u16)ip->ttl << 8), bpf_htons((__u16)(ip->ttl - hops) << 8));
		ip->saddr = to->src.word[3];
		ip->daddr = to->dst.word[3];
		ip->ttl -= hops;
		patch(&ip->check, delta);
	} else {
		struct ipv6hdr *ip = at(ctx, l3, sizeof(*ip));

		if (!ip)
			return false;
		__builtin_memcpy(&ip->saddr, &to->src, sizeof(ip->saddr));
		__builtin_memcpy(&ip->daddr, &to->dst, sizeof(ip->daddr));
		ip->hop_limit -= hops;
	}
	return true;
}

/* Translates a packet. Later fragments carry no ports and no layer-4 checksum. */
static __always_inline bool translate(struct xdp_md *ctx, struct pkt *p, const struct tuple *to)
{
	__u64 delta = delta_addr(&p->src, &to->src) + delta_addr(&p->dst, &to->dst) +
		      delta_port(p->sport, to->sport) + delta_port(p->dport, to->dport);

	if (!put_addrs(ctx, p->l3, p->family, to, 1))
		return false;
	if (p->fragment == FRAGMENT_LATER)
		return true;
	if (p->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = at(ctx, p->l4, sizeof(*tcp));

		if (!tcp)
			return false;
		tcp->source = to->sport;
		tcp->dest = to->dport;
		patch(&tcp->check, delta);
	} else {
		struct udphdr *udp = at(ctx, p->l4, sizeof(*udp));

		if (!udp)
			return false;
		udp->source = to->sport;
		udp->dest = to->dport;
		if (udp->check) { /* 0: none was computed (RFC 768) */
			patch(&udp->check, delta);
			if (!udp->check)
				udp->check = 0xffff;
		}
	}
	return true;
}

static __always_inline __u8 ttl_of(struct xdp_md *ctx, const struct pkt *p)
{
	if (p->family == 4) {
		struct iphdr *ip = at(ctx, p->l3, sizeof(*ip));

		return ip ? ip->ttl : 0;
	} else {
		struct ipv6hdr *ip = at(ctx, p->l3, sizeof(*ip));

		return ip ? ip->hop_limit : 0;
	}
}

/* Remembers a MAC whose frames the bridge will not see, so that the daemon can
 * keep it learnt. A small direct-mapped table: the next frame repairs a collision. */
static __always_inline void keep_learnt(const struct pkt *p)
{
	__u64 word = l2_word(&p->from);
	__u32 slot = finish((__u32)word ^ (__u32)(word >> 32)) & (LBD_MAX_SEEN_MACS - 1);
	struct seen_mac *seen = bpf_map_lookup_elem(&seen_macs, &slot);

	if (!seen)
		return;
	*(__u64 *)&seen->l2 = word;
	seen->port = p->ingress;
	seen->last_seen = p->now;
}

/* Gives the frame its Ethernet header, with or without a VLAN tag, and sends it
 * by `egress`. Last step: offsets in `p` are not valid afterwards. */
static __always_inline int transmit(struct xdp_md *ctx, struct pkt *p, __u64 to, const __u8 *own, __u32 egress,
				    __u32 reason)
{
	struct l2 l2 = l2_of_word(to);
	__be16 type = p->family == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	struct ethhdr *eth;
	int verdict;

	keep_learnt(p);
	if (p->tagged && !l2.vlan) {
		if (bpf_xdp_adjust_head(ctx, sizeof(struct vlan_tag)))
			return counted(REASON_DROP_FRAME, XDP_DROP);
	} else if (!p->tagged && l2.vlan) {
		if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct vlan_tag)))
			return counted(REASON_DROP_FRAME, XDP_DROP);
	}
	if (l2.vlan) {
		struct vlan_tag *tag = at(ctx, sizeof(*eth), sizeof(*tag));

		if (!tag)
			return counted(REASON_DROP_FRAME, XDP_DROP);
		tag->tci = bpf_htons(p->pcp | l2.vlan);
		tag->type = type;
		type = bpf_htons(ETH_P_8021Q);
	}
	eth = at(ctx, 0, sizeof(*eth));
	if (!eth)
		return counted(REASON_DROP_FRAME, XDP_DROP);
	__builtin_memcpy(eth->h_dest, l2.mac, 6);
	__builtin_memcpy(eth->h_source, own, 6);
	eth->h_proto = type;
	verdict = bpf_redirect_map(&tx_ports, egress, XDP_DROP);
	return counted(verdict == XDP_REDIRECT ? reason : REASON_DROP_EGRESS, verdict);
}

#endif
