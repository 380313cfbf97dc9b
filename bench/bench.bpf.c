// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0
/* The programs of the bench: a wrapper that makes a fresh frame for each run and
 * hands it to the program under test, a generator, a bare forwarder, a sink. */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* All frames have this length: room for TCP over IPv6, a multiple of 8. */
#define FRAME_BYTES 80

/* What the next run does; written by the bench between runs. The client's
 * address and port are zero in the frame as far as they vary, so that checksums
 * follow by addition. */
struct orders {
	__u64 frame[FRAME_BYTES / 8];
	__u32 counter;     /* of packets */
	__u32 step;        /* odd, so that all flows have their turn */
	__u32 mask;        /* number of flows - 1 */
	__u32 address_at;  /* offset of the last word of the client's address, of which 24 bits vary */
	__u32 port_at;     /* of the client's port, of which 14 bits vary */
	__u32 ip_check_at; /* of the checksum of the IPv4 header; 0: IPv6 has none */
	__u32 l4_check_at;
	__u32 target;      /* index in `programs` */
};
struct orders orders;

#define TARGET_BARE 0
#define TARGET_LBD 1

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
	__uint(max_entries, 2);
} programs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} way_out SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 1);
} arrived SEC(".maps");

static __always_inline __u16 *half(struct xdp_md *ctx, __u32 offset)
{
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	data += offset & 127;
	return data + sizeof(__u16) > end ? NULL : data;
}

static __always_inline bool add_to_checksum(struct xdp_md *ctx, __u32 offset, __u32 sum)
{
	__u16 *check = half(ctx, offset);

	if (!check)
		return false;
	sum += (__u16)~*check;
	sum = (sum & 0xffff) + (sum >> 16);
	*check = ~((sum & 0xffff) + (sum >> 16));
	return true;
}

/* The next packet: a client of its own among `mask` + 1, in scattered order. */
static __always_inline bool fresh_frame(struct xdp_md *ctx)
{
	__u64 *frame = (void *)(long)ctx->data;
	__u32 flow = orders.counter++ * orders.step & orders.mask;
	__u32 address = bpf_htonl(flow & 0xffffff);
	__u16 port = bpf_htons((flow ^ flow >> 14) & 0x3fff);
	__u32 sum = (address & 0xffff) + (address >> 16);
	__u16 *high, *low, *at_port;
	int i;

	if ((void *)(frame + FRAME_BYTES / 8) > (void *)(long)ctx->data_end)
		return false;
#pragma unroll
	for (i = 0; i < FRAME_BYTES / 8; i++)
		frame[i] = orders.frame[i];
	high = half(ctx, orders.address_at);
	low = half(ctx, orders.address_at + 2);
	at_port = half(ctx, orders.port_at);
	if (!high || !low || !at_port)
		return false;
	*high += address & 0xffff;
	*low += address >> 16;
	*at_port += port;
	if (orders.ip_check_at && !add_to_checksum(ctx, orders.ip_check_at, sum))
		return false;
	return add_to_checksum(ctx, orders.l4_check_at, sum + port);
}

static __always_inline bool swap_macs(struct xdp_md *ctx)
{
	__u16 *frame = (void *)(long)ctx->data;
	int i;

	if ((void *)(frame + 6) > (void *)(long)ctx->data_end)
		return false;
#pragma unroll
	for (i = 0; i < 3; i++) {
		__u16 kept = frame[i];

		frame[i] = frame[i + 3];
		frame[i + 3] = kept;
	}
	return true;
}

/* The kernel keeps the frame from run to run: after an answer that is shorter than its question (a RST) it is too short
 * for the next. */
static __always_inline bool is_full_length(struct xdp_md *ctx)
{
	int missing = FRAME_BYTES - (int)(ctx->data_end - ctx->data);

	return missing <= 0 || !bpf_xdp_adjust_tail(ctx, missing);
}

/* A fresh frame to the program under test. */
SEC("xdp")
int wrapper(struct xdp_md *ctx)
{
	if (is_full_length(ctx) && fresh_frame(ctx))
		bpf_tail_call(ctx, &programs, orders.target);
	return XDP_ABORTED;
}

/* What lbd is measured against: the least that a program can do which forwards. */
SEC("xdp")
int bare(struct xdp_md *ctx)
{
	return swap_macs(ctx) ? XDP_TX : XDP_ABORTED;
}

/* Run on live frames, which leave by the port that they are said to have come in by. */
SEC("xdp")
int generate(struct xdp_md *ctx)
{
	return fresh_frame(ctx) ? XDP_TX : XDP_ABORTED;
}

/* As `bare`, between two ports. */
SEC("xdp")
int bare_forward(struct xdp_md *ctx)
{
	return swap_macs(ctx) ? bpf_redirect_map(&way_out, 0, XDP_DROP) : XDP_ABORTED;
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u64 *n = bpf_map_lookup_elem(&arrived, &zero);

	/* Only what was generated: not what the kernel sends by itself. */
	if (n && ctx->data_end - ctx->data == FRAME_BYTES)
		(*n)++;
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
