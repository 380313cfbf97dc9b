/* What the data plane and the daemon share: the layout of the maps.
 *
 * The one definition: Rust's types are generated from it (see the `lbd_types`
 * variable in lbd.bpf.c, which carries them into the object's BTF). Whoever
 * changes the layout of a pinned map raises LBD_LAYOUT; the daemon then knows
 * that it cannot adopt what an older version left running.
 *
 * Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2), so that
 * one code path and one table serve both versions. Ports and addresses are in
 * network order, everything else in the host's. Times are CLOCK_MONOTONIC
 * nanoseconds unless said otherwise.
 */
#ifndef LBD_LB_H
#define LBD_LB_H

#define LBD_LAYOUT 5

/* Fixed sizes. The others (connections, embryos, persistence, fragments) come
 * from `limits` in the configuration and are set when the maps are made. */
#define LBD_MAX_VIPS 2048          /* VIP addresses */
#define LBD_MAX_ADDRS 16384        /* addresses of any role */
#define LBD_MAX_SERVERS 4096
#define LBD_MAX_SERVICES 8192      /* service x address family */
#define LBD_MAX_SERVICE_PORTS 131072 /* address x port of all services */
#define LBD_MAX_DESTS 32768        /* service x family x member */
#define LBD_MAX_SNATS 512       /* half for IPv4, half for IPv6 */
#define LBD_SNATS6 256           /* where those for IPv6 begin */
#define LBD_MAX_PORTS 256
#define LBD_MAX_MIGRANTS 16384     /* client prefixes of all migrations */
#define LBD_MAX_SEEN_MACS 256      /* slots per CPU */
#define LBD_MAX_PROBE_PLACES 8192  /* server x address family */
#define LBD_EMBRYO_WAYS 4
#define LBD_LEASE_ENDLESS (~0ULL)

struct addr {
	__be32 word[4];
};

/* Layer-2 place of a machine: `vlan` 0 is untagged. 8 bytes, read and written as one. */
struct l2 {
	__u8 mac[6];
	__u16 vlan;
};

/* -- ports ---------------------------------------------------------------- */

#define LBD_PORT_FORWARDING 1u /* the bridge's state of the port allows frames */

struct port {
	__u8 mac[6]; /* the MAC that this box answers with on this port */
	__u16 pad;
	__u32 flags;
};

/* -- addresses and services ------------------------------------------------ */

#define LBD_ADDR_VIP 1u
#define LBD_ADDR_INSIDE 2u
#define LBD_ADDR_SNAT 4u
#define LBD_ADDR_SERVER 8u

struct addr_info {
	__u32 roles; /* LBD_ADDR_*, several at once */
	__u32 vip;
	__u32 server;
	__u32 snat;
};

struct service_key {
	__u32 vip;
	__be16 port;
	__u16 protocol; /* IPPROTO_TCP, IPPROTO_UDP */
};

#define LBD_UDP_IDLE 0
#define LBD_UDP_MAX_AGE 1
#define LBD_UDP_PER_PACKET 2

#define LBD_ON_FAILURE_RESET 0
#define LBD_ON_FAILURE_KEEP 1

#define LBD_MIGRATES 1u          /* clients go to a second pool, by `migrate_share` */
#define LBD_MIGRATES_PREFIXES 2u /* and those that `migrants` names */
#define LBD_MIGRATE_ALL 10000u

struct service {
	__u64 embryonic_ns;
	__u64 unproven_ns;
	__u64 established_ns;
	__u64 closing_ns;
	__u64 closed_ns;
	__u64 udp_ns;
	__u64 udp_max_age_ns;
	__u64 persist_ns;
	__u32 persist_group;  /* 0: no persistence */
	__u32 persist_prefix; /* bits of the 16-byte address, 1..128 */
	__u32 udp_life;       /* LBD_UDP_* */
	__u32 on_failure;     /* LBD_ON_FAILURE_* */
	__u32 migrates;       /* LBD_MIGRATES* */
	__u32 migrate_share;  /* of the clients, in hundredths of a per cent: 0..LBD_MIGRATE_ALL */
	__u16 control_first;  /* host order, inclusive: ports outside are for data of sessions */
	__u16 control_last;   /* that began here, as in passive FTP */
	__be16 active_port;   /* servers open data connections from it, as in active FTP; 0: none */
	__u16 pad;
	__u32 active_vip;     /* in the name of this address, unless the client has used another */
	__u32 pad2;
};

/* A scheduling table: an inner map of `tables`, swapped whole. A service has its
 * own, and at its number + LBD_MAX_SERVICES that of the pool that it migrates to.
 * [0] kind, [1] number of slots, [2..] destinations. */
#define LBD_TABLE_HEADER 2
#define LBD_SCHED_MAGLEV 1
#define LBD_SCHED_ROUND_ROBIN 2
#define LBD_SCHED_LEAST_CONNECTIONS 3 /* pairs: destination, weight */
#define LBD_SCHED_SOURCE_HASH 4
#define LBD_LEAST_CONNECTIONS_MAX 256

/* -- destinations ----------------------------------------------------------- */

#define LBD_MODE_DSR 1u
#define LBD_MODE_NAT 2u
#define LBD_MODE_FULL_NAT 3u

#define LBD_DEST_VALID 1u
#define LBD_DEST_DOWN 2u /* failed or disabled: its flows are handled as on_failure says */
#define LBD_DEST_OPEN 4u /* may get new connections */
#define LBD_DEST_SECOND 8u /* of the pool that its service migrates to */
#define LBD_DEST_NONE 0xffffffffu

/* A service's use of one server. The words that change while flows point here
 * (l2, own, and egress with flags) are 8 bytes each and written atomically. */
struct dest {
	struct addr addr;
	struct l2 l2;  /* the server's */
	struct l2 own; /* this box's MAC on the way out; vlan unused */
	__u32 egress;  /* interface index; 0: place not known */
	__u32 flags;   /* LBD_DEST_* */
	__be16 port;   /* 0: as the client's */
	__u16 mode;    /* LBD_MODE_* */
	__u32 service;
	__u32 server;
	__u32 pad;
};

/* Counts of live connections, kept exact by whoever changes the tables. */
struct conns {
	__u64 active;  /* established, neither closed nor reset */
	__u64 pending; /* embryonic */
	__u64 total;   /* first packets scheduled, ever */
	__u64 max;     /* of a server: most active at once; 0: no limit. Unused for a destination */
};

struct traffic {
	__u64 packets_in; /* from clients */
	__u64 bytes_in;
	__u64 packets_out; /* from servers; seen in NAT only */
	__u64 bytes_out;
};

/* -- the connection table ------------------------------------------------------ */

/* `local` says what `port` is a port of, and separates protocols and directions. */
#define LBD_LOCAL_ID 0x00ffffffu
#define LBD_LOCAL_UDP 0x01000000u
#define LBD_LOCAL_SERVER 0x02000000u /* reverse, NAT: id of the server; peer is the client */
#define LBD_LOCAL_SNAT 0x04000000u   /* reverse, full NAT: id of the source address; peer is the server */

struct flow_key {
	struct addr peer;
	__be16 peer_port;
	__be16 port;
	__u32 local;
};

#define LBD_FLOW_CLIENT_FIN 1u
#define LBD_FLOW_SERVER_FIN 2u
#define LBD_FLOW_CLIENT_RST 4u
#define LBD_FLOW_SERVER_RST 8u
#define LBD_FLOW_PROVEN 16u  /* both sides were seen (NAT), or sustained progress (DSR) */
#define LBD_FLOW_REPLY 32u   /* the server has been heard (NAT) */
#define LBD_FLOW_CLOSED 64u  /* no longer counted as active */
#define LBD_FLOW_REMOVED 128u /* somebody is taking the entry out of the table */
#define LBD_FLOW_SYNCED 256u  /* told by the peer, and no packet of the client has come here since */
#define LBD_FLOW_TOLD 0x7fu   /* of these the peer is told */

struct flow {
	__u64 last_seen;
	__u64 created;
	__u32 dest;
	__u32 state;     /* LBD_FLOW_*, changed atomically */
	__be32 last_ack; /* TCP: the client's latest; a RST with it is accepted (RFC 5961). Of an embryo: what follows its SYN */
	__be16 snat_port;
	__u16 snat;      /* 1 + index of the source address; 0: not full NAT */
	struct l2 client;
	__u32 client_port; /* interface index, or LBD_PORT_BY_MAC */
	__u32 progress;    /* packets (UDP), advances of the ACK (TCP), until proven */
};

/* As `client_port`: the peer has told of the client, and it has not been heard here
 * yet. Its port is where the bridge has its MAC (`client_places`). */
#define LBD_PORT_BY_MAC 0xffffffffu

/* Where a client's MAC is: as the bridge has learnt it, or as a client has shown who was
 * heard at another port than before. */
struct client_place {
	__u64 since; /* coarse monotonic clock */
	__u32 port;
	__u32 pad;
};

/* The way back, complete in itself: a reply needs one look-up, unless something has moved. */
struct rflow {
	__u64 last_seen;
	__be32 last_ack; /* TCP: the server's latest; a RST with it is accepted */
	__u32 moves;     /* `control.moves` when `client_port` was looked at last */
	struct flow_key forward;
	__u32 dest;
	__u32 client_port;
	struct l2 client;
	struct l2 own;
};

/* A slot of the embryonic table. `expires` 0: free. */
struct embryo {
	struct flow_key key;
	__u64 expires;
	union {
		struct flow flow;
		struct rflow rflow;
	};
};

struct embryo_set {
	struct bpf_spin_lock lock;
	__u32 pad;
	struct embryo way[LBD_EMBRYO_WAYS];
};

/* -- persistence, fragments, source NAT ------------------------------------------ */

struct persist_key {
	struct addr client; /* masked to the prefix */
	__u32 group;
	__u32 pad;
};

struct persist {
	__u64 last_seen;
	__u32 server;
	__u32 vip; /* at which the client was seen last */
};

struct member_key {
	__u32 service;
	__u32 server;
};

/* Who may open connections to clients in NAT: the destination that they belong to. */
struct active_key {
	__u32 server;
	__be16 port;
	__u16 family; /* 4, 6 */
};

/* Clients that migrate, by address: the longest prefix, whatever its value. */
struct migrant_key {
	__u32 length; /* 32 and the bits of the 16-byte address */
	__u32 service;
	struct addr addr;
};

struct frag_key {
	struct addr src;
	struct addr dst;
	__u32 id;
	__u32 protocol;
};

struct frag {
	__be16 sport;
	__be16 dport;
	__u32 pad;
	__u64 last_seen;
};

struct snat {
	struct addr addr;
	__u16 first; /* host order, inclusive */
	__u16 last;
	__u32 open;  /* takes new flows; 0: only those that have it */
};

struct prefix_key {
	__u32 length;
	struct addr addr;
};

/* What a number stands for, so that a daemon that adopts the maps knows. The
 * text is the names with '/' between: service "mx/smtp/4", destination
 * "mx/smtp/4/pc1", server "pc1", persistence group "g/webmail" or "s/mx/smtp". */
#define LBD_NAME_SERVICE 1
#define LBD_NAME_DEST 2
#define LBD_NAME_SERVER 3
#define LBD_NAME_GROUP 4
#define LBD_NAME_BYTES 128

struct name_key {
	__u32 kind;
	__u32 id;
};

struct name {
	char text[LBD_NAME_BYTES];
};

/* -- control and telemetry ---------------------------------------------------------- */

/* `lease_until`, `layout` and `seed` lie where they are in every layout. */
struct control {
	__u64 lease_until;      /* CLOCK_BOOTTIME; LBD_LEASE_ENDLESS: no end */
	__u32 layout;           /* LBD_LAYOUT of who made the maps */
	__u32 embryo_mask;      /* number of sets - 1 */
	__u32 snats4;           /* slots of `snats` to try for IPv4: [0, snats4) */
	__u32 snats6;           /* for IPv6: LBD_SNATS6 + [0, snats6) */
	__u32 seed;             /* of all hashes; kept over restarts */
	__u32 sync;             /* not 0: somebody reads `sync_events` */
	__u64 moves;            /* how often a client's MAC was heard or learnt elsewhere, or a port opened or blocked */
};

/* What else is known of the lease. Apart from `control`, because an owner's packets
 * need none of it. Times are CLOCK_BOOTTIME. `alive_at` and `token` lie where they are
 * in every layout from 3 on. */
struct ownership {
	__u64 owned_since;       /* of a box that owns: since when without a gap */
	__u64 promised_until;    /* the daemon has promised its peer not to own before */
	__u64 alive_at;          /* the daemon showed life */
	__u64 serve_all_until;   /* without owning: frames to our MAC are served as before, */
	__u64 serve_known_until; /* those of known flows are */
	__u64 token[2];          /* whoever shows it may end the lease of a dead daemon; 0: nobody */
	__u64 token_shown_at;    /* it was shown, and not obeyed: it has been on the wire */
	__u64 pair;              /* which pair this box is of; 0: none */
	__u64 asked_at;          /* somebody asked, and was answered */
	__u64 pass_back_until;   /* an owner passes packets of unknown flows to the box that owned before: */
	struct l2 peer;          /* its MAC; 0: none */
	__u64 peer_port;         /* and by which port it is reached, an interface index; 0: none */
};

/* For so long after it lost its lease a box serves the flows that it knows. */
#define LBD_SERVE_KNOWN_NS 2000000000ULL
/* A daemon that showed no life for so long may be dead. */
#define LBD_SILENCE_NS 1500000000ULL

/* -- questions on the wire ------------------------------------------------------------ */

/* What one box asks the other's data plane, which answers also when its daemon is
 * dead. Follows the Ethernet header, with or without one VLAN tag. Everything in
 * network order. Later versions append: what is here keeps its place, and a box
 * answers every version with its own. */
#define LBD_ETHERTYPE 0x88b5          /* local experimental (IEEE 802) */
#define LBD_QUESTION_MAGIC 0x6c62643f /* "lbd?" */
#define LBD_QUESTION_VERSION 1

#define LBD_KIND_QUESTION 1
#define LBD_KIND_ANSWER 2
#define LBD_KIND_RELEASE 3 /* a question that brings a token */

#define LBD_HOLDS_NOTHING 0
#define LBD_HOLDS_UNTIL 1
#define LBD_HOLDS_ENDLESSLY 2

struct question {
	__be32 magic;
	__u8 version;
	__u8 kind;         /* LBD_KIND_* */
	__u8 holds;        /* answer: LBD_HOLDS_* */
	__u8 reserved;
	__be64 nonce;      /* the asker's, and the same in the answer */
	__be64 pair;       /* the sender's */
	__be64 remaining;  /* answer: ns until the lease ends, if it has an end */
	__be64 owned_for;  /* answer: ns since this box owns, if it does */
	__be64 silent_for; /* answer: ns since the daemon showed life */
	__u8 token[16];    /* release */
};

/* -- housekeeping ------------------------------------------------------------------------ */

/* What the daemon hands to `lbd_reap` and `lbd_sweep_embryos` (as the packet of a
 * BPF_PROG_TEST_RUN), and gets back in the same place. */
struct work {
	__u32 first; /* embryos: first set */
	__u32 count; /* entries of `reap_keys`, or sets */
	__u32 force; /* LBD_REAP_* */
	__u32 done;  /* out: how many were removed, or ended */
	__u64 now;  /* set by the program */
};
#define LBD_REAP_MAX 4096
#define LBD_REAP_EXPIRED 0 /* what has been idle for too long */
#define LBD_REAP_DOWN 1    /* whose destination is down: TCP in DSR stays for a while, as reset */

/* -- what the peer is told, and tells ------------------------------------------------ */

#define LBD_SYNC_RING_BYTES 8388608 /* of `sync_events`: some 87,000 */
#define LBD_SYNC_PARTS 256         /* into which connections fall by their hash */
/* A peer's connection lives so long beyond its timeout: what is still used over
 * there is told again within this time. */
#define LBD_SYNC_GRACE_S 60
#define LBD_RESTORE_MAX 1024
#define LBD_MAX_CLIENT_PLACES 4096

#define LBD_SYNC_PUT 1     /* the connection as a whole */
#define LBD_SYNC_TOUCH 2   /* state, last_seen and last_ack of it */
#define LBD_SYNC_GONE 3    /* it has left the table */
#define LBD_SYNC_BINDING 4 /* persistence: client, group in `key.local`; server in `flow.dest`, VIP in `flow.state` */

/* An event for the peer (`sync_events`), or one of the peer's (`restore_entries`). */
struct sync_entry {
	__u32 kind;        /* LBD_SYNC_* */
	__be32 server_ack; /* `last_ack` of the way back */
	__u64 at;          /* events: when */
	struct flow_key key;
	struct flow flow;
};

/* Events for which there was no room. */
struct sync_lost {
	__u64 part[LBD_SYNC_PARTS / 64]; /* bits: whose connections they were of */
	__u64 events;
};

/* What the daemon hands to `lbd_restore`, and gets back. */
struct restore {
	__u32 count; /* entries of `restore_entries` */
	__u32 owner; /* not 0: what this box has seen itself stays, however old */
	__u32 done;  /* out */
	__u32 older; /* out: this box knows better */
	__u32 stray; /* out: of connections that are not there */
	__u32 full;  /* out: no room in the table */
	__u32 nowhere; /* out: of a destination that is not there */
	__u32 pad;
};

/* -- variants of the program -------------------------------------------------------------- */

/* `lbd_variant` is a constant of each load of the program: what a variant does not need is not in it. */
#define LBD_VARIANT_SERVE 0
#define LBD_VARIANT_EXPLAIN 1 /* changes nothing; attached nowhere, run with BPF_PROG_TEST_RUN */
#define LBD_VARIANT_CAPTURE 2 /* serves, and tells of packets that a filter wants */

/* By what a packet's server was found. */
#define LBD_HOW_FLOW 1u      /* its connection is in the table */
#define LBD_HOW_EMBRYO 2u    /* its handshake is under way */
#define LBD_HOW_BOUND 4u     /* persistence */
#define LBD_HOW_TABLE 8u     /* the scheduler */
#define LBD_HOW_HASH 16u     /* the scheduler's consistent hash, for a later packet without an entry */
#define LBD_HOW_MIGRATED 32u /* in the pool that its service migrates to */
#define LBD_HOW_SYNCED 64u   /* the peer has told of the connection */

/* What became of a packet, and why (not in LBD_VARIANT_SERVE). */
struct fate {
	struct addr client;
	__u32 reason;  /* REASON_*; REASON_MAX: none was given */
	__u32 how;     /* LBD_HOW_* */
	__u32 dest;    /* LBD_DEST_NONE: none */
	__u32 service; /* LBD_DEST_NONE: none */
	__u32 told;    /* this CPU has told something */
	__u32 pad;
};

#define LBD_TAP_BYTES 2048 /* of a frame, at most */
#define LBD_TAP_RING_BYTES 4194304
#define LBD_MAX_TALKERS 65536

#define LBD_TAP_FRAMES 1u  /* as they have come, with their fate */
#define LBD_TAP_TALKERS 2u /* counts of packets and bytes by client and service */

/* Which packets LBD_VARIANT_CAPTURE tells of. */
struct tap_filter {
	__u64 until;           /* CLOCK_MONOTONIC: nothing is told from then on */
	struct addr host;      /* network of the source or the destination */
	struct addr host_mask; /* 0: any */
	__u32 services[2];     /* one or the other; the first LBD_DEST_NONE: any, and none */
	__u32 what;            /* LBD_TAP_* */
	__be16 port;           /* of the source or the destination; 0: any */
	__u8 protocol;         /* 0: any */
	__u8 whole;            /* 0: headers only */
};

struct tap_head {
	__u64 at; /* CLOCK_MONOTONIC */
	struct fate fate;
	__u32 ingress;  /* interface index */
	__u32 verdict;  /* XDP_* */
	__u32 length;   /* of the frame as it has come */
	__u32 captured; /* bytes of it that follow */
};

struct tapped {
	struct tap_head head;
	__u8 bytes[LBD_TAP_BYTES];
	__u32 kept; /* 0: nothing */
	__u32 pad;
};

struct talker_key {
	struct addr client;
	__u32 service;
	__u32 pad;
};

struct talker {
	__u64 packets;
	__u64 bytes;
};

/* A MAC whose frames the program took away from the bridge. */
struct seen_mac {
	struct l2 l2;
	__u32 port;
	__u32 pad;
	__u64 last_seen;
};

/* Where the probes with one mark go. */
struct probe_place {
	struct l2 to;  /* the server's */
	struct l2 own; /* this box's MAC on the way out; vlan unused */
	__u32 egress;  /* interface index of the port */
	__u32 pad;
};

/* Why a packet was answered, dropped, or passed unbalanced. Names for metrics
 * are in dataplane/reasons.rs; a test holds the two lists against each other. */
enum reason {
	REASON_PASS_PORT,        /* pass: the port is not ours, or is not forwarding */
	REASON_PASS_NOT_OWNER,   /* pass: no lease */
	REASON_PASS_SWITCHED,    /* pass: another's destination MAC */
	REASON_PASS_OTHER,       /* pass: not for the balancer */
	REASON_PASS_MALFORMED,   /* pass: cannot be parsed; the kernel judges */
	REASON_PASS_OPENED,      /* pass: a server opens a connection to a client: translated, for the kernel to route */
	REASON_ANSWERED_ARP,
	REASON_ANSWERED_ND,
	REASON_ANSWERED_ECHO,
	REASON_ANSWERED_QUESTION, /* the peer's, about the lease */
	REASON_FORWARDED,        /* to a server */
	REASON_RETURNED,         /* to a client */
	REASON_ICMP_TO_SERVER,
	REASON_ICMP_TO_CLIENT,
	REASON_HASHED,           /* forwarded by the hash alone, without an entry */
	REASON_PASSED_BACK,      /* of a flow that only the box that owned before may know */
	REASON_RST_NO_SERVICE,   /* answered by RST: nothing listens on this port of the VIP */
	REASON_RST_NO_FLOW,      /* answered by RST: a later packet of an unknown connection */
	REASON_RST_NO_SERVER,    /* answered by RST: no server can take the connection */
	REASON_RST_DOWN,         /* answered by RST: the connection's server has failed */
	REASON_DROP_NO_SERVICE,
	REASON_DROP_NO_FLOW,
	REASON_DROP_NO_SERVER,
	REASON_DROP_DOWN,        /* the flow's server has failed, and its pool keeps flows */
	REASON_DROP_PROTOCOL,    /* to a VIP, neither TCP, UDP nor ICMP */
	REASON_DROP_FRAGMENT,    /* a later fragment whose first has not been seen */
	REASON_DROP_TTL,
	REASON_DROP_NAT_COLLISION, /* another flow of this client uses the server's port */
	REASON_DROP_SNAT_EXHAUSTED,
	REASON_DROP_ICMP_UNKNOWN,  /* an ICMP error that quotes no flow of ours */
	REASON_DROP_NO_PLACE,      /* the server's MAC or port is not known */
	REASON_DROP_EGRESS,        /* the port to leave by is gone */
	REASON_DROP_FRAME,         /* the driver refused to resize the frame */
	REASON_TABLE_FULL,         /* event: a connection could not be entered */
	REASON_EMBRYO_EVICTED,     /* event: an unfinished handshake was overwritten */
	REASON_FLOW_ENTERED,       /* event: a connection was established in the table */
	REASON_FLOW_REMOVED,       /* event: and left it */
	REASON_NOT_MIGRATED,       /* event: a migrated client was served by the old pool, the new one has nobody */
	REASON_SERVED_LATE,        /* event: a frame to our MAC within the time in which one serves without owning */
	REASON_TOKEN_WRONG,        /* event: a release token that is not the one */
	REASON_TOKEN_EARLY,        /* event: the right one, but the daemon lives, or the lease has an end */
	REASON_RELEASED,           /* event: the lease of a dead daemon was ended by its token */
	REASON_MAX
};

#endif
