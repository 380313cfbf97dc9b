/* Frame to struct pkt: one VLAN tag, IPv4 with options, IPv6 with extension headers. */
#ifndef LBD_PARSE_H
#define LBD_PARSE_H

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include "base.h"

#define IPV6_EXTENSIONS_MAX 6

/* ICMP and ICMPv6 begin alike (RFC 792, RFC 4443). <linux/icmp.h> drags in libc. */
struct icmphdr {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 rest;
};

struct vlan_tag {
	__be16 tci;
	__be16 type;
};

/* ARP over Ethernet for IPv4 (RFC 826). */
struct arp {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_len;
	__u8 protocol_len;
	__be16 operation;
	__u8 sender_mac[6];
	__be32 sender __attribute__((packed));
	__u8 target_mac[6];
	__be32 target __attribute__((packed));
} __attribute__((packed));

struct ipv6_fragment {
	__u8 next;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};

/* The 4-tuple of a fragmented datagram, which only its first fragment carries. */
static __always_inline bool resolve_fragment(struct pkt *p, __u32 id)
{
	struct frag_key key = {.src = p->src, .dst = p->dst, .id = id, .protocol = p->protocol};
	struct frag *known;

	if (p->fragment == FRAGMENT_FIRST) {
		struct frag first = {.sport = p->sport, .dport = p->dport, .last_seen = p->now};

		if (!IS_DRY)
			bpf_map_update_elem(&frags, &key, &first, BPF_ANY);
		return true;
	}
	known = bpf_map_lookup_elem(&frags, &key);
	/* 30 s is the reassembly time of Linux; identifiers repeat after that. */
	if (!known || elapsed(p->now, known->last_seen) > 30000000000ULL)
		return false;
	p->sport = known->sport;
	p->dport = known->dport;
	return true;
}

static __always_inline bool parse_l4(struct xdp_md *ctx, struct pkt *p)
{
	if (p->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = at(ctx, p->l4, sizeof(*tcp));

		if (!tcp)
			return false;
		p->sport = tcp->source;
		p->dport = tcp->dest;
		p->tcp_seq = tcp->seq;
		p->tcp_ack = tcp->ack_seq;
		p->tcp_flags = ((__u8 *)tcp)[13];
	} else if (p->protocol == IPPROTO_UDP) {
		struct udphdr *udp = at(ctx, p->l4, sizeof(*udp));

		if (!udp)
			return false;
		p->sport = udp->source;
		p->dport = udp->dest;
	} else if (p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_ICMPV6) {
		struct icmphdr *icmp = at(ctx, p->l4, sizeof(*icmp));

		if (!icmp)
			return false;
		p->icmp_type = icmp->type;
	}
	return true;
}

static __always_inline bool parse_ipv4(struct xdp_md *ctx, struct pkt *p, __u32 *fragment_id)
{
	struct iphdr *ip = at(ctx, p->l3, sizeof(*ip));
	__u16 offset;

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return false;
	p->family = 4;
	p->protocol = ip->protocol;
	p->l3_bytes = bpf_ntohs(ip->tot_len);
	p->l4 = p->l3 + ip->ihl * 4;
	set_v4(&p->src, ip->saddr);
	set_v4(&p->dst, ip->daddr);
	offset = bpf_ntohs(ip->frag_off);
	if (offset & 0x1fff)
		p->fragment = FRAGMENT_LATER;
	else if (offset & 0x2000)
		p->fragment = FRAGMENT_FIRST;
	*fragment_id = ip->id;
	return true;
}

static __always_inline bool parse_ipv6(struct xdp_md *ctx, struct pkt *p, __u32 *fragment_id)
{
	struct ipv6hdr *ip = at(ctx, p->l3, sizeof(*ip));
	__u32 offset = p->l3 + sizeof(*ip);
	__u8 next;
	int i;

	if (!ip || ip->version != 6)
		return false;
	p->family = 6;
	p->l3_bytes = bpf_ntohs(ip->payload_len) + sizeof(*ip);
	__builtin_memcpy(&p->src, &ip->saddr, sizeof(p->src));
	__builtin_memcpy(&p->dst, &ip->daddr, sizeof(p->dst));
	/* ::ffff:a.b.c.d is how the tables hold IPv4; on the wire it is nobody (RFC 4291, 2.5.5.2). */
	if (is_v4(&p->src) || is_v4(&p->dst))
		return false;
	next = ip->nexthdr;
#pragma unroll
	for (i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
		__u8 *header;

		if (next == IPPROTO_FRAGMENT) {
			struct ipv6_fragment *fragment = at(ctx, offset, sizeof(*fragment));

			if (!fragment)
				return false;
			if (bpf_ntohs(fragment->offset) & 0xfff8)
				p->fragment = FRAGMENT_LATER;
			else if (fragment->offset & bpf_htons(1))
				p->fragment = FRAGMENT_FIRST;
			*fragment_id = fragment->id;
			next = fragment->next;
			offset += sizeof(*fragment);
			if (p->fragment == FRAGMENT_LATER)
				break; /* what follows is data */
			continue;
		}
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS)
			break;
		header = at(ctx, offset, 2);
		if (!header)
			return false;
		next = header[0];
		offset += (header[1] + 1) * 8;
	}
	p->protocol = next;
	p->l4 = offset;
	return true;
}

#define PARSED 0
#define PARSED_ARP 1
#define PARSED_OTHER 2     /* neither IP nor ARP, or more than one tag */
#define PARSED_MALFORMED 3
#define PARSED_LOST 4      /* a later fragment of an unknown datagram */

static __always_inline int parse(struct xdp_md *ctx, struct pkt *p)
{
	struct ethhdr *eth = at(ctx, 0, sizeof(*eth));
	__u32 fragment_id = 0, end;
	__be16 type;

	if (!eth)
		return PARSED_MALFORMED;
	__builtin_memcpy(p->from.mac, eth->h_source, 6);
	type = eth->h_proto;
	p->l3 = sizeof(*eth);
	if (type == bpf_htons(ETH_P_8021Q)) {
		struct vlan_tag *tag = at(ctx, sizeof(*eth), sizeof(*tag));

		if (!tag)
			return PARSED_MALFORMED;
		p->from.vlan = bpf_ntohs(tag->tci) & 0x0fff;
		p->pcp = bpf_ntohs(tag->tci) & 0xf000;
		p->tagged = 1;
		type = tag->type;
		p->l3 += sizeof(*tag);
	}
	if (type == bpf_htons(ETH_P_ARP))
		return PARSED_ARP;
	if (type == bpf_htons(ETH_P_IP)) {
		if (!parse_ipv4(ctx, p, &fragment_id))
			return PARSED_MALFORMED;
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		if (!parse_ipv6(ctx, p, &fragment_id))
			return PARSED_MALFORMED;
	} else {
		return PARSED_OTHER;
	}
	end = (__u32)p->l3 + p->l3_bytes;
	if (end > (__u32)(ctx->data_end - ctx->data) || p->l4 > end)
		return PARSED_MALFORMED; /* cut short, or headers longer than the packet */
	if (p->fragment != FRAGMENT_LATER && !parse_l4(ctx, p))
		return PARSED_MALFORMED;
	if (p->fragment != FRAGMENT_NONE && (p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP)) {
		struct ethhdr *again = at(ctx, 0, sizeof(*again));

		/* Only frames for this box: others' fragments must not fill the table. */
		if (again && same_mac(again->h_dest, p->own) && !resolve_fragment(p, fragment_id))
			return PARSED_LOST;
	}
	return PARSED;
}

#endif
