/* Packets that the balancer answers itself: ARP, neighbour discovery, ping, RST. */
#ifndef LBD_ANSWER_H
#define LBD_ANSWER_H

#include "rewrite.h"

#define ND_SOLICIT 135
#define ND_ADVERT 136
#define ICMPV4_ECHO 8
#define ICMPV4_ECHO_REPLY 0
#define ICMPV6_ECHO 128
#define ICMPV6_ECHO_REPLY 129

/* Back to whoever sent it. */
static __always_inline int reply(struct xdp_md *ctx, struct pkt *p, __u32 reason)
{
	return transmit(ctx, p, l2_word(&p->from), p->own, p->ingress, reason);
}

static __always_inline bool is_answered_for(const struct addr *a)
{
	struct addr_info *info = bpf_map_lookup_elem(&addrs, a);

	return info && info->roles & (LBD_ADDR_VIP | LBD_ADDR_INSIDE | LBD_ADDR_SNAT);
}

/* Who-has for an address of ours (RFC 826). The reply leaves with the type of
 * the request, which `transmit` does not know. */
STEP int answer_arp(struct xdp_md *ctx, struct pkt *p)
{
	if (!p)
		return XDP_ABORTED;

	struct arp *arp = at(ctx, p->l3, sizeof(*arp));
	struct ethhdr *eth = at(ctx, 0, sizeof(*eth));
	struct addr target;
	__be32 asked;
	int verdict;

	if (!arp || !eth || arp->hardware != bpf_htons(1) || arp->protocol != bpf_htons(ETH_P_IP) ||
	    arp->operation != bpf_htons(1))
		return counted(REASON_PASS_OTHER, XDP_PASS);
	asked = arp->target;
	set_v4(&target, asked);
	if (!is_answered_for(&target))
		return counted(REASON_PASS_OTHER, XDP_PASS);
	__builtin_memcpy(arp->target_mac, arp->sender_mac, 6);
	arp->target = arp->sender;
	__builtin_memcpy(arp->sender_mac, p->own, 6);
	arp->sender = asked;
	arp->operation = bpf_htons(2);
	__builtin_memcpy(eth->h_dest, eth->h_source, 6);
	__builtin_memcpy(eth->h_source, p->own, 6);
	keep_learnt(p);
	verdict = bpf_redirect_map(&tx_ports, p->ingress, XDP_DROP);
	return counted(verdict == XDP_REDIRECT ? REASON_ANSWERED_ARP : REASON_DROP_EGRESS, verdict);
}

/* Neighbour solicitation and advertisement with their one option (RFC 4861, 4.3, 4.4). */
struct neighbour {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 flags;
	struct addr target;
	__u8 option;
	__u8 option_len;
	__u8 mac[6];
};

/* Sum of `len` bytes, a multiple of 4, for a checksum over a whole small message. */
static __always_inline __u64 sum_of(const void *data, __u32 len)
{
	const __u32 *word = data;
	__u64 sum = 0;
	__u32 i;

#pragma unroll
	for (i = 0; i < len / 4; i++)
		sum += word[i];
	return sum;
}

STEP int answer_nd(struct xdp_md *ctx, struct pkt *p)
{
	if (!p)
		return XDP_ABORTED;

	struct neighbour *n = at(ctx, p->l4, 24);
	struct addr target, asker = p->src;
	struct l2 to = p->from;
	struct ipv6hdr *ip;
	__s32 grow;
	__u64 sum;

	/* The hop limit proves that it was sent on this link (RFC 4861, 7.1.1). */
	if (!n || n->code || ttl_of(ctx, p) != 255)
		return counted(REASON_PASS_OTHER, XDP_PASS);
	__builtin_memcpy(&target, &n->target, sizeof(target));
	if (!is_answered_for(&target))
		return counted(REASON_PASS_OTHER, XDP_PASS);
	grow = (__s32)p->l4 + (__s32)sizeof(*n) - (__s32)(ctx->data_end - ctx->data);
	if (grow && bpf_xdp_adjust_tail(ctx, grow))
		return counted(REASON_DROP_FRAME, XDP_DROP);
	ip = at(ctx, p->l3, sizeof(*ip));
	n = at(ctx, p->l4, sizeof(*n));
	if (!ip || !n)
		return counted(REASON_DROP_FRAME, XDP_DROP);
	n->flags = bpf_htonl(0x60000000); /* solicited, override */
	if (!(asker.word[0] | asker.word[1] | asker.word[2] | asker.word[3])) {
		/* Duplicate address detection: tell all nodes that it is taken (7.2.4). */
		asker.word[0] = bpf_htonl(0xff020000);
		asker.word[3] = bpf_htonl(1);
		n->flags = bpf_htonl(0x20000000);
		to.mac[0] = to.mac[1] = 0x33;
		to.mac[2] = to.mac[3] = to.mac[4] = 0;
		to.mac[5] = 1;
	}
	n->type = ND_ADVERT;
	n->option = 2; /* target link-layer address */
	n->option_len = 1;
	__builtin_memcpy(n->mac, p->own, 6);
	__builtin_memcpy(&ip->saddr, &target, sizeof(target));
	__builtin_memcpy(&ip->daddr, &asker, sizeof(asker));
	ip->hop_limit = 255;
	ip->payload_len = bpf_htons(p->l4 - p->l3 - sizeof(*ip) + sizeof(*n));
	n->checksum = 0;
	sum = sum_of(n, sizeof(*n)) + sum_of(&target, 16) + sum_of(&asker, 16);
	sum += bpf_htonl(sizeof(*n)) + bpf_htonl(IPPROTO_ICMPV6);
	n->checksum = ~fold(sum);
	return transmit(ctx, p, l2_word(&to), p->own, p->ingress, REASON_ANSWERED_ND);
}

/* Ping to a VIP or the floating inside address. */
STEP int answer_echo(struct xdp_md *ctx, struct pkt *p)
{
	if (!p)
		return XDP_ABORTED;

	struct tuple back = {.src = p->dst, .dst = p->src};
	struct icmphdr *icmp = at(ctx, p->l4, sizeof(*icmp));
	__u8 type = p->family == 4 ? ICMPV4_ECHO_REPLY : ICMPV6_ECHO_REPLY;

	if (!icmp)
		return counted(REASON_PASS_MALFORMED, XDP_PASS);
	/* Type and code are one 16-bit word; swapped addresses leave ICMPv6's
	 * pseudo-header sum as it is. */
	patch(&icmp->checksum, delta_port(bpf_htons((__u16)icmp->type << 8), bpf_htons((__u16)type << 8)));
	icmp->type = type;
	if (!put_addrs(ctx, p->l3, p->family, &back, 0))
		return counted(REASON_PASS_MALFORMED, XDP_PASS);
	if (p->family == 4) {
		struct iphdr *ip = at(ctx, p->l3, sizeof(*ip));

		if (ip) {
			patch(&ip->check, delta_port(bpf_htons((__u16)ip->ttl << 8), bpf_htons(64 << 8)));
			ip->ttl = 64;
		}
	} else {
		struct ipv6hdr *ip = at(ctx, p->l3, sizeof(*ip));

		if (ip)
			ip->hop_limit = 64;
	}
	return reply(ctx, p, REASON_ANSWERED_ECHO);
}

/* The number of what a client sends next after its SYN. */
static __always_inline __be32 after_syn(const struct pkt *p)
{
	return bpf_htonl(bpf_ntohl(p->tcp_seq) + 1);
}

static __always_inline void build_rst(struct tcphdr *tcp, const struct pkt *p)
{
	__builtin_memset(tcp, 0, sizeof(*tcp));
	tcp->source = p->dport;
	tcp->dest = p->sport;
	/* RFC 9293, 3.5.2: with the number that the peer expects, else acknowledging its SYN. */
	if (p->tcp_flags & TCP_ACK) {
		tcp->seq = p->tcp_ack;
	} else {
		tcp->ack_seq = after_syn(p);
		tcp->ack = 1;
	}
	tcp->rst = 1;
	tcp->doff = sizeof(*tcp) / 4;
}

/* Answers a TCP packet by a RST in the name of its destination. */
STEP int answer_rst(struct xdp_md *ctx, struct pkt *p, __u32 reason)
{
	if (!p)
		return XDP_ABORTED;

	__u32 l4 = p->l3 + (p->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	__s32 trim;
	struct tcphdr *tcp;
	__u64 sum;

	/* Options and extension headers go: the frame only gets shorter. */
	trim = (__s32)(l4 + sizeof(*tcp)) - (__s32)(ctx->data_end - ctx->data);
	if (trim > 0 || (trim && bpf_xdp_adjust_tail(ctx, trim)))
		return counted(REASON_DROP_FRAME, XDP_DROP);
	tcp = at(ctx, l4, sizeof(*tcp));
	if (!tcp)
		return counted(REASON_DROP_FRAME, XDP_DROP);
	build_rst(tcp, p);
	sum = sum_of(tcp, sizeof(*tcp)) + bpf_htonl(sizeof(*tcp)) + bpf_htonl(IPPROTO_TCP);
	if (p->family == 4) {
		struct iphdr *ip = at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return counted(REASON_DROP_FRAME, XDP_DROP);
		__builtin_memset(ip, 0, sizeof(*ip));
		ip->version = 4;
		ip->ihl = 5;
		ip->tot_len = bpf_htons(sizeof(*ip) + sizeof(*tcp));
		ip->frag_off = bpf_htons(0x4000);
		ip->ttl = 64;
		ip->protocol = IPPROTO_TCP;
		ip->saddr = p->dst.word[3];
		ip->daddr = p->src.word[3];
		ip->check = ~fold(sum_of(ip, sizeof(*ip)));
		sum += (__u64)ip->saddr + ip->daddr;
	} else {
		struct ipv6hdr *ip = at(ctx, p->l3, sizeof(*ip));

		if (!ip)
			return counted(REASON_DROP_FRAME, XDP_DROP);
		__builtin_memset(ip, 0, sizeof(*ip));
		ip->version = 6;
		ip->payload_len = bpf_htons(sizeof(*tcp));
		ip->nexthdr = IPPROTO_TCP;
		ip->hop_limit = 64;
		__builtin_memcpy(&ip->saddr, &p->dst, sizeof(p->dst));
		__builtin_memcpy(&ip->daddr, &p->src, sizeof(p->src));
		sum += sum_of(&p->src, 16) + sum_of(&p->dst, 16);
	}
	tcp->check = ~fold(sum);
	return reply(ctx, p, reason);
}

/* A TCP packet that nobody can serve is refused; a RST never, and nothing of UDP. */
static __always_inline int refuse(struct xdp_md *ctx, struct pkt *p, __u32 rst, __u32 drop)
{
	if (p->window || p->protocol != IPPROTO_TCP || p->tcp_flags & TCP_RST || p->fragment == FRAGMENT_LATER)
		return give_up(p, drop);
	return answer_rst(ctx, p, rst);
}

#endif
