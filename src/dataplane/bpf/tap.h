/* Tells of packets that a filter wants: what they are, what became of them and why. Only in LBD_VARIANT_CAPTURE. */
#ifndef LBD_TAP_H
#define LBD_TAP_H

#include "parse.h"

#define IS_TAPPED (lbd_variant == LBD_VARIANT_CAPTURE)

/* Of one load of the program; the one that serves is loaded without them. */
MAP(BPF_MAP_TYPE_ARRAY, tap_filter, __u32, struct tap_filter, 1, 0);
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, tapped, __u32, struct tapped, 1, 0);
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, tap_lost, __u32, __u64, 1, 0);
MAP(BPF_MAP_TYPE_LRU_PERCPU_HASH, talkers, struct talker_key, struct talker, LBD_MAX_TALKERS, 0);
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, LBD_TAP_RING_BYTES);
} tap_events SEC(".maps");

static __always_inline bool is_within(const struct addr *a, const struct addr *network, const struct addr *mask)
{
	return (a->word[0] & mask->word[0]) == network->word[0] && (a->word[1] & mask->word[1]) == network->word[1] &&
	       (a->word[2] & mask->word[2]) == network->word[2] && (a->word[3] & mask->word[3]) == network->word[3];
}

/* Where what people have written begins: mail, and the passwords to it, pass here. */
static __always_inline __u32 headers_end(struct xdp_md *ctx, const struct pkt *p)
{
	if (p->fragment == FRAGMENT_LATER)
		return p->l4;
	if (p->protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = at(ctx, p->l4, sizeof(*tcp));

		return tcp ? p->l4 + tcp->doff * 4 : p->l4;
	}
	if (p->protocol == IPPROTO_UDP || p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_ICMPV6)
		return p->l4 + 8;
	return p->l4;
}

/* Pointers to packets are 64 bits wide, and must stay so until one is taken from the other. */
static __always_inline __u32 frame_bytes(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	asm volatile("" : "+r"(data), "+r"(end));
	return end - data;
}

/* Keeps the frame as it has come, if the filter may want it. Linux 6.1 judges each step, called or not, and the maps
 * are there only where IS_TAPPED. */
STEP int tap_keep(struct xdp_md *ctx, struct pkt *p)
{
	if (!IS_TAPPED)
		return 0;

	__u32 zero = 0, length = frame_bytes(ctx), kept;
	struct tap_filter *f = bpf_map_lookup_elem(&tap_filter, &zero);
	struct tapped *t = bpf_map_lookup_elem(&tapped, &zero);

	if (!p || !f || !t || p->now >= f->until)
		return 0;
	if ((f->protocol && p->protocol != f->protocol) || (f->port && p->sport != f->port && p->dport != f->port))
		return 0;
	if (!is_within(&p->src, &f->host, &f->host_mask) && !is_within(&p->dst, &f->host, &f->host_mask))
		return 0;
	kept = f->whole ? length : headers_end(ctx, p);
	if (kept > length)
		kept = length;
	if (kept > LBD_TAP_BYTES)
		kept = LBD_TAP_BYTES;
	/* Never so short; Linux 6.1 does not see from a test for 0 that something is left. */
	if (kept < sizeof(struct ethhdr) || bpf_xdp_load_bytes(ctx, 0, t->bytes, kept))
		return 0;
	t->head.at = bpf_ktime_get_ns();
	t->head.ingress = p->ingress;
	t->head.length = length;
	t->kept = kept;
	return 0;
}

static __always_inline void tap_count_talker(const struct fate *f, __u32 bytes)
{
	struct talker_key key = {.client = f->client, .service = f->service};
	struct talker *known = bpf_map_lookup_elem(&talkers, &key);
	struct talker first = {.packets = 1, .bytes = bytes};

	if (!known) {
		bpf_map_update_elem(&talkers, &key, &first, BPF_NOEXIST);
		return;
	}
	known->packets++;
	known->bytes += bytes;
}

/* Tells of the frame that was kept, now that its fate is known. */
STEP int tap_tell(int verdict)
{
	if (!IS_TAPPED)
		return 0;

	__u32 zero = 0, kept;
	struct tap_filter *filter = bpf_map_lookup_elem(&tap_filter, &zero);
	struct tapped *t = bpf_map_lookup_elem(&tapped, &zero);
	struct fate *f = the_fate();
	__u64 *lost;

	if (!filter || !t || !f || !t->kept)
		return 0;
	kept = t->kept;
	t->kept = 0;
	if (filter->services[0] != LBD_DEST_NONE && f->service != filter->services[0] &&
	    f->service != filter->services[1])
		return 0;
	if (filter->what & LBD_TAP_TALKERS && f->service != LBD_DEST_NONE)
		tap_count_talker(f, t->head.length);
	if (!(filter->what & LBD_TAP_FRAMES))
		return 0;
	if (kept > LBD_TAP_BYTES)
		kept = LBD_TAP_BYTES;
	t->head.fate = *f;
	t->head.verdict = verdict;
	t->head.captured = kept;
	if (bpf_ringbuf_output(&tap_events, t, offsetof(struct tapped, bytes) + kept, 0)) {
		lost = bpf_map_lookup_elem(&tap_lost, &zero);
		if (lost)
			(*lost)++;
	}
	return 0;
}

#endif
