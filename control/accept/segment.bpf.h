/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The accept program's view of a packet: one TCP segment for a service, wherever its bytes lie. A packet's
 * linear part may end with its Ethernet header (af_packet's ring, NICs that split headers, GRO): nothing is
 * read but by bpf_skb_load_bytes(), which finds the rest.
 */
#ifndef KEYRAIL_ACCEPT_SEGMENT_H
#define KEYRAIL_ACCEPT_SEGMENT_H

#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_TIMESTAMP 8
#define TCP_OPTIONS_MOST 20 /* options looked at: enough for 40 bytes of anything but NOPs at the end */
#define EXTENSIONS_MOST 8   /* as the dispatcher: dataplane/wire/headers.cc */

/* Of the kernel's struct, what is read here; libbpf puts in the running kernel's offset. */
struct sk_buff {
    __u16 mac_len;
} __attribute__((preserve_access_index));
extern void* bpf_cast_to_kern_ctx(void* skb) __ksym;

/* One segment, as far as it has been looked at. */
struct segment {
    struct kr_cookie_tuple tuple;
    struct kr_accept_service service;
    struct bpf_sock_tuple sockets;
    struct tcphdr tcp;
    __u32 ip_offset;
    __u32 tcp_offset;
    __u32 end; /* behind the packet, as its IP header says: a small frame is padded */
    bool v6;
    bool stamped; /* it has a timestamp option (RFC 7323 section 3.2) */
    __u32 tsval, tsecr;
};

/* IPv4 header at s->ip_offset. */
static __always_inline bool parse_v4(struct __sk_buff* skb, struct segment* s) {
    struct iphdr ip;

    if (bpf_skb_load_bytes(skb, s->ip_offset, &ip, sizeof(ip)) < 0) return false;
    if (ip.ihl < 5 || ip.protocol != IPPROTO_TCP) return false;
    if (ip.frag_off & bpf_htons(0x3fff)) return false; /* RFC 791: more fragments, or not the first */
    s->tcp_offset = s->ip_offset + ip.ihl * 4;
    s->end = s->ip_offset + bpf_ntohs(ip.tot_len);
    s->sockets.ipv4.saddr = ip.saddr;
    s->sockets.ipv4.daddr = ip.daddr;
    s->tuple.word[1] = kr_cookie_mapped4(ip.saddr);
    s->tuple.word[3] = kr_cookie_mapped4(ip.daddr);
    return true;
}

/* Moves the offset behind extension headers (RFC 8200 section 4); true: TCP is there. */
static __always_inline bool skip_extensions(struct __sk_buff* skb, __u8 next, __u32* offset) {
    __u8 header[2];
    int i;

    for (i = 0; i < EXTENSIONS_MOST; i++) {
        if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS) break;
        if (bpf_skb_load_bytes(skb, *offset, header, sizeof(header)) < 0) return false;
        next = header[0];
        *offset += 8 + header[1] * 8;
    }
    return next == IPPROTO_TCP;
}

static __always_inline bool parse_v6(struct __sk_buff* skb, struct segment* s) {
    struct ipv6hdr ip;

    if (bpf_skb_load_bytes(skb, s->ip_offset, &ip, sizeof(ip)) < 0) return false;
    s->tcp_offset = s->ip_offset + sizeof(ip);
    s->end = s->tcp_offset + bpf_ntohs(ip.payload_len);
    if (!skip_extensions(skb, ip.nexthdr, &s->tcp_offset)) return false;
    s->v6 = true;
    __builtin_memcpy(s->sockets.ipv6.saddr, &ip.saddr, 16);
    __builtin_memcpy(s->sockets.ipv6.daddr, &ip.daddr, 16);
    __builtin_memcpy(&s->tuple.word[0], &ip.saddr, 16);
    __builtin_memcpy(&s->tuple.word[2], &ip.daddr, 16);
    return true;
}

/* A segment that can be the first of a connection. */
static __always_inline bool parse_segment(struct __sk_buff* skb, struct segment* s) {
    s->ip_offset = ((struct sk_buff*)bpf_cast_to_kern_ctx(skb))->mac_len;
    if (skb->protocol == bpf_htons(ETH_P_IP)) {
        if (!parse_v4(skb, s)) return false;
    } else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
        if (!parse_v6(skb, s)) return false;
    } else {
        return false;
    }
    if (bpf_skb_load_bytes(skb, s->tcp_offset, &s->tcp, sizeof(s->tcp)) < 0) return false;
    if (s->tcp.syn || s->tcp.rst || !s->tcp.ack || s->tcp.doff < 5) return false;
    if (s->v6) {
        s->sockets.ipv6.sport = s->tcp.source;
        s->sockets.ipv6.dport = s->tcp.dest;
    } else {
        s->sockets.ipv4.sport = s->tcp.source;
        s->sockets.ipv4.dport = s->tcp.dest;
    }
    __builtin_memcpy(s->service.address, &s->tuple.word[2], 16);
    s->service.port = bpf_ntohs(s->tcp.dest);
    return true;
}

/* A packet that GRO made larger than a length can say (its length is 0 then) has some. */
static __always_inline bool has_payload(const struct segment* s) {
    return s->end - s->tcp_offset > s->tcp.doff * 4u;
}

static __always_inline void parse_timestamp(struct __sk_buff* skb, struct segment* s) {
    __u32 offset = s->tcp_offset + sizeof(struct tcphdr);
    __u32 left = s->tcp.doff * 4 - sizeof(struct tcphdr);
    __u8 option[2];
    __u32 stamps[2];
    int i;

    for (i = 0; i < TCP_OPTIONS_MOST; i++) {
        if (left < 2 || bpf_skb_load_bytes(skb, offset, option, 2) < 0 || option[0] == TCP_OPTION_END) return;
        if (option[0] == TCP_OPTION_NOP) {
            offset++;
            left--;
            continue;
        }
        if (option[1] < 2 || option[1] > left) return;
        if (option[0] == TCP_OPTION_TIMESTAMP && option[1] == 10) {
            if (bpf_skb_load_bytes(skb, offset + 2, stamps, sizeof(stamps)) < 0) return;
            s->tsval = bpf_ntohl(stamps[0]);
            s->tsecr = bpf_ntohl(stamps[1]);
            s->stamped = true;
            return;
        }
        offset += option[1];
        left -= option[1];
    }
}

#endif
