/* Probes that reach a virtual IP at one server's MAC (direct server return). */
#ifndef LBD_PROBE_H
#define LBD_PROBE_H

#include <linux/pkt_cls.h>

#include "base.h"

/* Mark of the probe's socket -> where its frames go. Of one load of the program, not
 * pinned: marks mean nothing to the next daemon, which has no probe under way. */
MAP(BPF_MAP_TYPE_HASH, probe_places, __u32, struct probe_place, LBD_MAX_PROBE_PLACES, BPF_F_NO_PREALLOC);

/* At the egress of the probes' own interface, to which a rule routes all marked
 * packets. What has no place is dropped: it would come to a server that was not
 * meant, and its answer would be taken for that of the one which was. */
SEC("tc")
int lbd_probe(struct __sk_buff *skb)
{
	__u32 mark = skb->mark;
	struct probe_place *place = bpf_map_lookup_elem(&probe_places, &mark);
	__u8 macs[2 * ETH_ALEN];

	if (!place)
		return TC_ACT_SHOT;
	__builtin_memcpy(macs, place->to.mac, ETH_ALEN);
	__builtin_memcpy(macs + ETH_ALEN, place->own.mac, ETH_ALEN);
	/* Neither address is part of a checksum. */
	if (bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0))
		return TC_ACT_SHOT;
	if (place->to.vlan && bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), place->to.vlan))
		return TC_ACT_SHOT;
	return bpf_redirect(place->egress, 0);
}

#endif
