/* What every step needs: the parsed packet, safe access, counting, hashing. */
#ifndef LBD_BASE_H
#define LBD_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "lb.h"
#include "maps.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* What a box that has lost its lease serves for a while, of frames to its own MAC. */
#define WINDOW_NONE 0  /* an owner needs none */
#define WINDOW_ALL 1   /* everything, as before; ARP and ND are not answered */
#define WINDOW_KNOWN 2 /* the flows that it knows */

#define FRAGMENT_NONE 0
#define FRAGMENT_FIRST 1
#define FRAGMENT_LATER 2

/* Headers never begin beyond this: Ethernet, VLAN, IPv6 and what of extension
 * headers the parser accepts. A power of two minus one, for the verifier. */
#define OFFSET_MAX 1023

/* A step's answer when it is for the next step to decide. XDP's own are 0 to 4. */
#define NEXT 16

/* A step that the verifier judges once, by itself, instead of along every way
 * that leads to it: it sees its arguments' types but none of their values. */
#define STEP __attribute__((noinline))

/* The packet as parsed. Offsets are from the start of the frame. */
struct pkt {
	struct addr src;
	struct addr dst;
	__u64 now;
	struct l2 from;  /* sender's MAC, VLAN */
	__u32 ingress;
	__be32 tcp_seq;
	__be32 tcp_ack;
	__be16 sport;
	__be16 dport;
	__u16 l3;
	__u16 l4;
	__u16 l3_bytes;  /* length of the IP datagram as its header says */
	__u16 pcp;       /* priority bits of the VLAN tag, kept when tags are rewritten */
	__u8 own[6];     /* this box's MAC on the port */
	__u8 family;     /* 4, 6; 0: not IP */
	__u8 protocol;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 fragment;
	__u8 tagged;
	__u8 window; /* WINDOW_* */
	__u8 relayed; /* without owning: the owner has passed it back, its sender's MAC is not the client's */
};

/* The packet lies in a map and not on the stack, whose 512 bytes all steps share.
 * One per CPU: the program is not re-entered on a CPU. */
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, packet, __u32, struct pkt, 1, 0);

/* `len` bytes at `offset`, or NULL. Packet pointers must be fetched anew after
 * each helper that may move the packet, hence by offset and not kept. */
static __always_inline void *at(struct xdp_md *ctx, __u32 offset, __u32 len)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	/* Keeps clang from treating the pointer as the 32-bit number of the context,
	 * and from testing the bound on another copy of the offset than it adds. */
	asm volatile("" : "+r"(data), "+r"(end));
	if (offset > OFFSET_MAX)
		return NULL;
	asm volatile("%0 &= %1" : "+r"(offset) : "i"(OFFSET_MAX));
	data += offset;
	if (data + len > end)
		return NULL;
	return data;
}

/* Set before the program is loaded, and then no packet can change it: the verifier drops the branches of the others. */
const volatile __u32 lbd_variant = LBD_VARIANT_SERVE;

#define IS_DRY (lbd_variant == LBD_VARIANT_EXPLAIN)
#define IS_TOLD (lbd_variant != LBD_VARIANT_SERVE)

/* Made only where IS_TOLD. */
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, fate, __u32, struct fate, 1, 0);

static __always_inline struct fate *the_fate(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&fate, &zero);
}

static __always_inline void tell_begin(void)
{
	struct fate *f = IS_TOLD ? the_fate() : NULL;

	if (!f)
		return;
	__builtin_memset(f, 0, sizeof(*f));
	f->reason = REASON_MAX;
	f->dest = LBD_DEST_NONE;
	f->service = LBD_DEST_NONE;
	f->told = 1;
}

static __always_inline void tell_how(__u32 how)
{
	struct fate *f = IS_TOLD ? the_fate() : NULL;

	if (f)
		f->how |= how;
}

/* Whose packet it is: of the client's use of a service, and of the server, if one was found. */
static __always_inline void tell_whose(const struct addr *client, __u32 service, __u32 dest)
{
	struct fate *f = IS_TOLD ? the_fate() : NULL;

	if (!f)
		return;
	f->client = *client;
	f->service = service;
	f->dest = dest;
}

static __always_inline void count(__u32 reason)
{
	__u64 *counter = bpf_map_lookup_elem(&reasons, &reason);

	if (counter)
		(*counter)++;
}

static __always_inline int counted(__u32 reason, int verdict)
{
	struct fate *f = IS_TOLD ? the_fate() : NULL;

	if (f)
		f->reason = reason;
	count(reason);
	return verdict;
}

static __always_inline struct control *the_control(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

/* A packet that cannot be served. Whoever does not own refuses nobody: the packet may be
 * the owner's affair, and the kernel knows a way to him. */
static __always_inline int give_up(const struct pkt *p, __u32 reason)
{
	return p->window && !p->relayed ? counted(REASON_PASS_NOT_OWNER, XDP_PASS) : counted(reason, XDP_DROP);
}

/* Time since `then`, which another CPU may have written after this one took its `now`. */
static __always_inline __u64 elapsed(__u64 now, __u64 then)
{
	return now > then ? now - then : 0;
}

static __always_inline bool same_addr(const struct addr *a, const struct addr *b)
{
	return a->word[3] == b->word[3] && a->word[2] == b->word[2] && a->word[1] == b->word[1] &&
	       a->word[0] == b->word[0];
}

/* clang turns a memcmp of 6 bytes into a call. */
static __always_inline bool same_mac(const __u8 *a, const __u8 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4] && a[5] == b[5];
}

static __always_inline bool same_key(const struct flow_key *a, const struct flow_key *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

static __always_inline bool is_v4(const struct addr *a)
{
	return a->word[0] == 0 && a->word[1] == 0 && a->word[2] == bpf_htonl(0xffff);
}

static __always_inline void set_v4(struct addr *a, __be32 v4)
{
	a->word[0] = 0;
	a->word[1] = 0;
	a->word[2] = bpf_htonl(0xffff);
	a->word[3] = v4;
}

static __always_inline __u64 l2_word(const struct l2 *l2)
{
	return *(const volatile __u64 *)l2;
}

static __always_inline struct l2 l2_of_word(__u64 word)
{
	struct l2 l2;

	__builtin_memcpy(&l2, &word, sizeof(l2));
	return l2;
}

/* One round and the finaliser of MurmurHash3 (Appleby, public domain), 32 bits. */
static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	word *= 0xcc9e2d51;
	word = (word << 15) | (word >> 17);
	word *= 0x1b873593;
	hash ^= word;
	hash = (hash << 13) | (hash >> 19);
	return hash * 5 + 0xe6546b64;
}

static __always_inline __u32 finish(__u32 hash)
{
	hash ^= hash >> 16;
	hash *= 0x85ebca6b;
	hash ^= hash >> 13;
	hash *= 0xc2b2ae35;
	return hash ^ (hash >> 16);
}

static __always_inline __u32 hash_addr(__u32 seed, const struct addr *a)
{
	seed = mix(seed, a->word[0]);
	seed = mix(seed, a->word[1]);
	seed = mix(seed, a->word[2]);
	return mix(seed, a->word[3]);
}

#endif
