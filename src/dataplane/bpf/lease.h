/* The lease: who owns, who still serves, and what the peer is told of it. docs/dataplane.md has the rules. */
#ifndef LBD_LEASE_H
#define LBD_LEASE_H

#include "base.h"
#include "parse.h"
#include "rewrite.h"

static __always_inline __u64 lease_of(const struct control *c)
{
	return *(const volatile __u64 *)&c->lease_until;
}

/* `owns = now < lease_until`, per packet: a daemon that hangs or dies loses its
 * addresses without being asked. BOOTTIME, because MONOTONIC stands still in suspend. */
static __always_inline bool owns(const struct control *c)
{
	__u64 until = lease_of(c);

	return until == LBD_LEASE_ENDLESS || bpf_ktime_get_boot_ns() < until;
}

static __always_inline struct ownership *the_ownership(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&ownership, &zero);
}

/* What a box that does not own serves all the same. */
static __always_inline int window_now(void)
{
	struct ownership *o = the_ownership();
	__u64 now = bpf_ktime_get_boot_ns();

	if (!o)
		return WINDOW_NONE;
	if (now < *(volatile __u64 *)&o->serve_all_until)
		return WINDOW_ALL;
	return now < *(volatile __u64 *)&o->serve_known_until ? WINDOW_KNOWN : WINDOW_NONE;
}

/* The frame has come from the peer, who does not know its flow. */
static __always_inline bool is_relayed(const struct pkt *p)
{
	struct ownership *o = the_ownership();

	return o && l2_word(&o->peer) && l2_word(&p->from) == l2_word(&o->peer);
}

/* Handshakes that were under way when this box came to own, and connections that the peer had no
 * time to tell of, are known to the peer alone, which serves them on for a while: it gets their
 * packets as they came. NEXT: the time is over, or the packet was the peer's. */
STEP int pass_back(struct xdp_md *ctx, struct pkt *p)
{
	struct ownership *o = the_ownership();
	struct port *port;
	__u32 egress;

	if (!p || !o || p->window || bpf_ktime_get_boot_ns() >= *(volatile __u64 *)&o->pass_back_until)
		return NEXT;
	if (!l2_word(&o->peer) || is_relayed(p))
		return NEXT;
	egress = *(volatile __u64 *)&o->peer_port;
	port = bpf_map_lookup_elem(&ports, &egress);
	if (!port)
		return NEXT;
	return transmit(ctx, p, l2_word(&o->peer), port->mac, egress, REASON_PASSED_BACK);
}

/* Ends an endless lease whose daemon is dead, if the peer shows the token. Copies that
 * come by several paths find no token any more. */
static __always_inline void release(const struct question *q, struct control *c, struct ownership *o, __u64 now)
{
	__u64 shown[2], first = o->token[0], second = o->token[1];

	__builtin_memcpy(shown, q->token, sizeof(shown));
	if (!(first | second) || (shown[0] ^ first) | (shown[1] ^ second)) {
		count(REASON_TOKEN_WRONG);
		return;
	}
	if (lease_of(c) != LBD_LEASE_ENDLESS || elapsed(now, *(volatile __u64 *)&o->alive_at) < LBD_SILENCE_NS) {
		o->token_shown_at = now; /* the daemon lives, or soon will: it makes another */
		count(REASON_TOKEN_EARLY);
		return;
	}
	o->serve_all_until = 0;
	o->serve_known_until = now + LBD_SERVE_KNOWN_NS;
	if (__sync_val_compare_and_swap(&c->lease_until, LBD_LEASE_ENDLESS, 0) != LBD_LEASE_ENDLESS)
		return;
	o->token[0] = 0;
	o->token[1] = 0;
	count(REASON_RELEASED);
}

static __always_inline void fill_answer(struct question *q, const struct control *c, const struct ownership *o,
					__u64 now)
{
	__u64 until = lease_of(c);
	bool endless = until == LBD_LEASE_ENDLESS;
	bool ours = endless || now < until;

	q->version = LBD_QUESTION_VERSION;
	q->kind = LBD_KIND_ANSWER;
	q->holds = endless ? LBD_HOLDS_ENDLESSLY : ours ? LBD_HOLDS_UNTIL : LBD_HOLDS_NOTHING;
	q->reserved = 0;
	q->pair = bpf_cpu_to_be64(o->pair);
	q->remaining = bpf_cpu_to_be64(ours && !endless ? until - now : 0);
	q->owned_for = bpf_cpu_to_be64(ours ? elapsed(now, o->owned_since) : 0);
	q->silent_for = bpf_cpu_to_be64(elapsed(now, o->alive_at));
	__builtin_memset(q->token, 0, sizeof(q->token));
}

/* The question in a frame, or NULL: also of an answer, which is for our daemon. */
static __always_inline struct question *question_in(struct xdp_md *ctx)
{
	struct ethhdr *eth = at(ctx, 0, sizeof(*eth));
	__u32 offset = sizeof(*eth);
	struct question *q;
	__be16 type;

	if (!eth)
		return NULL;
	type = eth->h_proto;
	if (type == bpf_htons(ETH_P_8021Q)) {
		struct vlan_tag *tag = at(ctx, sizeof(*eth), sizeof(*tag));

		if (!tag)
			return NULL;
		type = tag->type;
		offset += sizeof(*tag);
	}
	if (type != bpf_htons(LBD_ETHERTYPE))
		return NULL;
	q = at(ctx, offset, sizeof(*q));
	if (!q || q->magic != bpf_htonl(LBD_QUESTION_MAGIC) || !q->version)
		return NULL;
	return q->kind == LBD_KIND_QUESTION || q->kind == LBD_KIND_RELEASE ? q : NULL;
}

/* Answers a question to our MAC, on every port that is ours: also one that the bridge blocks,
 * which may be the last path on which the peer can ask; the frame goes no further than to the
 * asker, and so closes no loop. What is none passes, counted as `otherwise`. Off the way of
 * an owner's packets, but on that of all that a standby switches: the EtherType comes first. */
STEP int maybe_question(struct xdp_md *ctx, __u32 otherwise)
{
	struct question *q = question_in(ctx);
	struct ethhdr *eth = at(ctx, 0, sizeof(*eth));
	__u32 ingress = ctx->ingress_ifindex;
	struct ownership *o;
	struct control *c;
	struct port *port;
	__u64 now;
	int verdict;

	if (IS_DRY || !q || !eth)
		return counted(otherwise, XDP_PASS);
	port = bpf_map_lookup_elem(&ports, &ingress);
	o = the_ownership();
	c = the_control();
	if (!port || !o || !c || !same_mac(eth->h_dest, port->mac) || eth->h_source[0] & 1)
		return counted(otherwise, XDP_PASS);
	now = bpf_ktime_get_boot_ns();
	if (q->kind == LBD_KIND_RELEASE)
		release(q, c, o, now);
	o->asked_at = now;
	fill_answer(q, c, o, now);
	__builtin_memcpy(eth->h_dest, eth->h_source, 6);
	__builtin_memcpy(eth->h_source, port->mac, 6);
	verdict = bpf_redirect(ingress, 0); /* `tx_ports` has no blocked ones */
	return counted(verdict == XDP_REDIRECT ? REASON_ANSWERED_QUESTION : REASON_DROP_EGRESS, verdict);
}

/* Makes the lease endless, if this box still owns: a decision that was made long before,
 * by a daemon that was stopped in between, comes to nothing. Run with BPF_PROG_TEST_RUN;
 * XDP_PASS: done, XDP_DROP: refused. */
SEC("xdp")
int lbd_endless(struct xdp_md *ctx)
{
	struct control *c = the_control();
	__u64 until;

	(void)ctx;
	if (!c)
		return XDP_ABORTED;
	until = lease_of(c);
	if (until == LBD_LEASE_ENDLESS)
		return XDP_PASS;
	if (bpf_ktime_get_boot_ns() >= until ||
	    __sync_val_compare_and_swap(&c->lease_until, until, LBD_LEASE_ENDLESS) != until)
		return XDP_DROP;
	if (bpf_ktime_get_boot_ns() < until)
		return XDP_PASS;
	/* This processor was held up between the clock and the write. */
	__sync_val_compare_and_swap(&c->lease_until, LBD_LEASE_ENDLESS, until);
	return XDP_DROP;
}

#endif
