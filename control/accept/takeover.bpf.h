/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The accept program, where an old connection with the same addresses and ports is in the way: in TIME_WAIT,
 * half-open because its end got lost, or a handshake of which its client knows nothing any more. The kernel
 * would find the new connection's place taken and drop its segments without a word until the old one has
 * timed out.
 *
 * A SYN that comes to such a socket is let in when it is newer (RFC 9293 section 3.6.1, RFC 6191); else it is
 * answered with an ACK, which the client, who knows of no connection, answers with a RST, which ends the old
 * one (RFC 9293 section 3.5.1). Here the dispatcher has answered the SYN. So what is newer by the same rule
 * takes the place at once, and what is not takes it when it comes again: a late copy from the network does
 * not come a second time after the pause of a retransmission.
 *
 * No helper ends a socket, but packets do: this one is turned into the one that ends the old connection and
 * goes on into the stack; its copy, as it was, is received once more and finds the place free.
 */
#ifndef KEYRAIL_ACCEPT_TAKEOVER_H
#define KEYRAIL_ACCEPT_TAKEOVER_H

#include "control/accept/segment.bpf.h"

#define FIN_WAIT2_STATE 5 /* the kernel's net/tcp_states.h */
#define TIME_WAIT_STATE 6
#define SYN_RECV_STATE 12             /* TCP_NEW_SYN_RECV */
#define AGAIN_NS 100000000ULL         /* no retransmission comes sooner: Linux's least is 200 ms */
#define AGAIN_MOST_NS 120000000000ULL /* nor later: RFC 6298 section 2.5 */
#define LATE_MOST (1 << 20)           /* bytes that an acknowledgement of its own can be late */

/* Of the kernel's structs, what is read here. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct sock_common {
    __u32 skc_tw_rcv_nxt;
};
struct inet_timewait_sock {
    struct sock_common __tw_common;
    unsigned char tw_substate;
};
struct tcp_timewait_sock {
    struct inet_timewait_sock tw_sk;
    __u32 tw_ts_recent;
    int tw_ts_recent_stamp;
};
struct tcp_sock {
    __u32 rcv_nxt, snd_una, snd_nxt;
};
struct tcp_request_sock {
    __u32 rcv_isn, snt_isn, rcv_nxt;
};
#pragma clang attribute pop

/* When a connection's first segment last met an old one, and which segment that was. */
struct sighting {
    __u64 at; /* ns */
    __u32 seq;
    __u32 unused;
};
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, KR_ACCEPT_STRAYS);
    __type(key, struct bpf_sock_tuple);
    __type(value, struct sighting);
} sightings SEC(".maps");

/* The old connection: what ends it, and whether the new one is newer by its own numbers. */
struct old_connection {
    __u32 next; /* the sequence number that it waits for */
    bool syn;   /* a SYN ends it, not a RST, which net.ipv4.tcp_rfc1337 = 1 would have it ignore */
    bool newer; /* this segment's connection is */
};

static __always_inline bool after(__u32 a, __u32 b) { return (__s32)(a - b) > 0; }

static __always_inline void look_at_time_wait(const struct tcp_timewait_sock* tw, const struct segment* s,
                                              struct old_connection* old) {
    __u32 seq = bpf_ntohl(s->tcp.seq);

    old->next = tw->tw_sk.__tw_common.skc_tw_rcv_nxt;
    old->syn = tw->tw_sk.tw_substate == TIME_WAIT_STATE;
    if (s->stamped && tw->tw_ts_recent_stamp && s->tsval != tw->tw_ts_recent)
        old->newer = after(s->tsval, tw->tw_ts_recent); /* RFC 6191 */
    else
        old->newer = after(seq - 1, old->next);
    if (!old->syn) old->newer = false; /* FIN_WAIT_2: its client has not finished */
}

/*
 * A handshake that this blade's kernel has begun: what acknowledges another number than its own is of another
 * one. The kernel would reset that.
 */
static __always_inline bool look_at_handshake(const struct tcp_request_sock* request, const struct segment* s,
                                              struct old_connection* old) {
    old->next = request->rcv_nxt;
    old->newer = after(bpf_ntohl(s->tcp.seq) - 1, request->rcv_isn);
    return bpf_ntohl(s->tcp.ack_seq) != request->snt_isn + 1;
}

/*
 * Does a socket that is not listening stand in the way of this segment? False: the segment can be its own, or
 * nothing is known of it.
 */
static __always_inline bool in_the_way(struct bpf_sock* socket, const struct segment* s,
                                       struct old_connection* old) {
    const struct tcp_timewait_sock* tw;
    const struct tcp_request_sock* request;
    const struct tcp_sock* tcp;
    __u32 ack = bpf_ntohl(s->tcp.ack_seq);

    if (socket->state == SYN_RECV_STATE) {
        request = bpf_skc_to_tcp_request_sock(socket);
        return request && look_at_handshake(request, s, old);
    }
    if (socket->state == TIME_WAIT_STATE) {
        tw = bpf_skc_to_tcp_timewait_sock(socket);
        if (tw) look_at_time_wait(tw, s, old);
        return tw != NULL;
    }
    tcp = bpf_skc_to_tcp_sock(socket);
    if (!tcp) return false;
    old->next = tcp->rcv_nxt;
    return after(ack, tcp->snd_nxt) || after(tcp->snd_una - LATE_MOST, ack);
}

/* True: now. False: when this segment comes again. */
static __always_inline bool may_take_over(const struct segment* s, const struct old_connection* old) {
    struct sighting now = {bpf_ktime_get_ns(), s->tcp.seq, 0};
    struct sighting* known = bpf_map_lookup_elem(&sightings, &s->sockets);
    bool again = known && known->seq == now.seq;
    __u64 since = known ? now.at - known->at : 0;

    if (again && since < AGAIN_NS) return false; /* a copy, or what should have ended the old one did not */
    /* One that is not remembered would meet its own copy, and that the next, for ever. */
    if (bpf_map_update_elem(&sightings, &s->sockets, &now, BPF_ANY) != 0) return false;
    return old->newer || (again && since < AGAIN_MOST_NS);
}

static __always_inline __u16 fold(__u64 sum) {
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return ~sum;
}

/* RFC 9293 section 3.1: over pseudo header and header; there are no data. */
static __always_inline __u16 checksum(const struct segment* s, struct tcphdr* tcp) {
    __be32 lengths[2] = {bpf_htonl(sizeof(*tcp)), bpf_htonl(IPPROTO_TCP)};
    __s64 sum = bpf_csum_diff(NULL, 0, lengths, sizeof(lengths), 0);

    if (s->v6)
        sum = bpf_csum_diff(NULL, 0, (__be32*)s->sockets.ipv6.saddr, 32, sum);
    else
        sum = bpf_csum_diff(NULL, 0, (__be32*)&s->sockets.ipv4.saddr, 8, sum);
    return fold(bpf_csum_diff(NULL, 0, (__be32*)tcp, sizeof(*tcp), sum));
}

/* The IP header of a packet that ends with its TCP header. */
static __always_inline long shorten(struct __sk_buff* skb, const struct segment* s) {
    __u32 end = s->tcp_offset + sizeof(struct tcphdr);
    __u32 field =
        s->ip_offset + (s->v6 ? offsetof(struct ipv6hdr, payload_len) : offsetof(struct iphdr, tot_len));
    __be16 before, now = bpf_htons(end - s->ip_offset - (s->v6 ? sizeof(struct ipv6hdr) : 0));

    if (bpf_skb_load_bytes(skb, field, &before, sizeof(before)) < 0) return -1;
    if (bpf_skb_change_tail(skb, end, 0) < 0) return -1;
    if (bpf_skb_store_bytes(skb, field, &now, sizeof(now), BPF_F_RECOMPUTE_CSUM) < 0) return -1;
    if (s->v6) return 0;
    return bpf_l3_csum_replace(skb, s->ip_offset + offsetof(struct iphdr, check), before, now, sizeof(now));
}

/*
 * Has the segment received once more, behind what it is turned into: a RST where the old connection expects
 * one (RFC 5961 section 3.2), or for TIME_WAIT a SYN behind all that was, which ends it as any new SYN does.
 * The listening socket, which the kernel gives that to, drops it: it has a FIN, too. False: could not.
 */
static __always_inline bool take_over(struct __sk_buff* skb, const struct segment* s,
                                      const struct old_connection* old) {
    struct tcphdr tcp = {};

    tcp.source = s->tcp.source;
    tcp.dest = s->tcp.dest;
    tcp.seq = bpf_htonl(old->next + old->syn);
    tcp.doff = sizeof(tcp) / 4;
    tcp.syn = tcp.fin = old->syn;
    tcp.rst = !old->syn;
    tcp.check = checksum(s, &tcp);
    if (bpf_clone_redirect(skb, skb->ifindex, BPF_F_INGRESS) < 0) return false;
    if (shorten(skb, s) < 0) return false;
    return bpf_skb_store_bytes(skb, s->tcp_offset, &tcp, sizeof(tcp), BPF_F_RECOMPUTE_CSUM) == 0;
}

#endif
