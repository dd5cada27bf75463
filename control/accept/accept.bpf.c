/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The blade's accept program, at TCX ingress: gives TCP connections whose SYN the dispatcher answered
 * (dataplane/common/cookie.h) to the server's listening socket. It acts on the first data segment that
 * reaches the blade, and on nothing that is not for a service. Everything with a socket of its own
 * (established, TIME_WAIT, native handshake) is the kernel's.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_helpers.h> /* wants linux/types.h before it */

#include <bpf/bpf_endian.h>

#include "control/accept/accept.h"

#define TCP_LISTEN_STATE 10 /* TCP_LISTEN of the kernel's net/tcp_states.h */
#define TCP_OPTION_END 0
#define TCP_OPTION_NOP 1
#define TCP_OPTION_TIMESTAMP 8
#define TCP_OPTIONS_MOST 20    /* options looked at: enough for 40 bytes of anything but NOPs at the end */
#define EXTENSIONS_MOST 8      /* as the dispatcher: dataplane/wire/headers.cc */
#define STRAY_NS 3000000000ULL /* longer than any first retransmission (RFC 6298: 1 s, then 2 s) */
#define STRAY_PAUSE_NS 1000000000ULL /* between retransmissions at first; later they double (RFC 6298) */
#define LONGEST_RTT_MS 3000u         /* a longer one is a clock that differs, not a path */

/* As the kernel's BTF has it (Linux 6.9): 20 bytes. */
struct bpf_tcp_req_attrs {
    __u32 rcv_tsval, rcv_tsecr;
    __u16 mss;
    __u8 rcv_wscale, snd_wscale, ecn_ok, wscale_ok, sack_ok, tstamp_ok, usec_ts_ok, reserved[3];
};
/* A definition, not a declaration: the kfunc's prototype would not match otherwise. */
struct sock {};
extern int bpf_sk_assign_tcp_reqsk(struct __sk_buff* skb, struct sock* sk, struct bpf_tcp_req_attrs* attrs,
                                   int attrs__sz) __ksym;

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, struct kr_accept_key);
} cookie_keys SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, KR_ACCEPT_SERVICES);
    __type(key, struct kr_accept_service);
    __type(value, __u8);
} services SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, KR_ACCEPT_REASONS);
    __type(key, __u32);
    __type(value, __u64);
} accept_stats SEC(".maps");

/* Times in ns of the segments with a bad cookie that belong together: retransmissions of one connection. */
struct stray {
    __u64 first, last;
};
/* By connection. The kernel throws out the least recent. */
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, KR_ACCEPT_STRAYS);
    __type(key, struct bpf_sock_tuple);
    __type(value, struct stray);
} strays SEC(".maps");

/* One segment, as far as it has been looked at. */
struct segment {
    struct kr_cookie_tuple tuple;
    struct kr_accept_service service;
    struct bpf_sock_tuple sockets;
    struct tcphdr tcp;
    __u32 tcp_offset; /* from the network header */
    bool v6;
};

static __always_inline void count(__u32 reason) {
    __u64* counter = bpf_map_lookup_elem(&accept_stats, &reason);

    if (counter) (*counter)++;
}

static __always_inline long load(struct __sk_buff* skb, __u32 offset, void* to, __u32 size) {
    return bpf_skb_load_bytes_relative(skb, offset, to, size, BPF_HDR_START_NET);
}

static __always_inline bool parse_v4(struct __sk_buff* skb, struct segment* s) {
    struct iphdr ip;

    if (load(skb, 0, &ip, sizeof(ip)) < 0 || ip.ihl < 5 || ip.protocol != IPPROTO_TCP) return false;
    if (ip.frag_off & bpf_htons(0x3fff)) return false; /* RFC 791: more fragments, or not the first */
    s->tcp_offset = ip.ihl * 4;
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
        if (load(skb, *offset, header, sizeof(header)) < 0) return false;
        next = header[0];
        *offset += 8 + header[1] * 8;
    }
    return next == IPPROTO_TCP;
}

static __always_inline bool parse_v6(struct __sk_buff* skb, struct segment* s) {
    struct ipv6hdr ip;

    if (load(skb, 0, &ip, sizeof(ip)) < 0) return false;
    s->tcp_offset = sizeof(ip);
    if (!skip_extensions(skb, ip.nexthdr, &s->tcp_offset)) return false;
    s->v6 = true;
    __builtin_memcpy(s->sockets.ipv6.saddr, &ip.saddr, 16);
    __builtin_memcpy(s->sockets.ipv6.daddr, &ip.daddr, 16);
    __builtin_memcpy(&s->tuple.word[0], &ip.saddr, 16);
    __builtin_memcpy(&s->tuple.word[2], &ip.daddr, 16);
    return true;
}

/* A segment that can be the first of a connection, to a service. */
static __always_inline bool parse(struct __sk_buff* skb, struct segment* s) {
    if (skb->protocol == bpf_htons(ETH_P_IP)) {
        if (!parse_v4(skb, s)) return false;
    } else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
        if (!parse_v6(skb, s)) return false;
    } else {
        return false;
    }
    if (load(skb, s->tcp_offset, &s->tcp, sizeof(s->tcp)) < 0) return false;
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
    return bpf_map_lookup_elem(&services, &s->service) != NULL;
}

/* RFC 7323 section 3.2; true: there is a timestamp option. */
static __always_inline bool parse_timestamp(struct __sk_buff* skb, const struct segment* s,
                                            struct bpf_tcp_req_attrs* attrs) {
    __u32 offset = s->tcp_offset + sizeof(struct tcphdr);
    __u32 left = s->tcp.doff * 4 - sizeof(struct tcphdr);
    __u8 option[2];
    __u32 stamps[2];
    int i;

    for (i = 0; i < TCP_OPTIONS_MOST; i++) {
        if (left < 2 || load(skb, offset, option, 2) < 0 || option[0] == TCP_OPTION_END) return false;
        if (option[0] == TCP_OPTION_NOP) {
            offset++;
            left--;
            continue;
        }
        if (option[1] < 2 || option[1] > left) return false;
        if (option[0] == TCP_OPTION_TIMESTAMP && option[1] == 10) {
            if (load(skb, offset + 2, stamps, sizeof(stamps)) < 0) return false;
            attrs->rcv_tsval = bpf_ntohl(stamps[0]);
            attrs->rcv_tsecr = bpf_ntohl(stamps[1]);
            return true;
        }
        offset += option[1];
        left -= option[1];
    }
    return false;
}

/* Checks the cookie; when it is good, `attrs` is what SYN and SYN-ACK had agreed on. */
static __always_inline bool check(struct __sk_buff* skb, struct segment* s, struct bpf_tcp_req_attrs* attrs) {
    __u32 cookie = bpf_ntohl(s->tcp.ack_seq) - 1;
    __u8 options = (__u8)cookie;
    __u32 key_id = (options & KR_COOKIE_KEY_ID) >> KR_COOKIE_KEY_SHIFT;
    struct kr_accept_key* key = bpf_map_lookup_elem(&cookie_keys, &key_id);
    __u64 mac;

    if (!key || !key->set) return false;
    attrs->tstamp_ok = parse_timestamp(skb, s, attrs);
    s->tuple.word[4] =
        kr_cookie_last(bpf_ntohl(s->tcp.seq) - 1, bpf_ntohs(s->tcp.source), bpf_ntohs(s->tcp.dest));
    mac = kr_cookie_mac(&s->tuple, options, &key->key);
    if (!kr_cookie_valid(mac, cookie, attrs->tstamp_ok, attrs->rcv_tsecr)) return false;

    attrs->mss =
        (__u16)((s->v6 ? KR_COOKIE_MSS6 : KR_COOKIE_MSS4) >> (16 * (options >> KR_COOKIE_MSS_SHIFT)));
    attrs->sack_ok = (options & KR_COOKIE_SACK) != 0;
    attrs->wscale_ok = (options & KR_COOKIE_WSCALE_MASK) != KR_COOKIE_NO_WSCALE;
    if (attrs->wscale_ok) {
        attrs->snd_wscale = options & KR_COOKIE_WSCALE_MASK;
        attrs->rcv_wscale = KR_COOKIE_WSCALE;
    }
    if (attrs->tstamp_ok) {
        /* The kernel takes (its clock - tsecr) for the first RTT, which would be about 0 and cost clients
         * that are far away spurious retransmissions. The clock in TSval says how long the SYN-ACK's round
         * trip was. */
        __u32 now = (__u32)(bpf_ktime_get_tai_ns() / 1000000);
        __u32 rtt = (now - attrs->rcv_tsecr) & KR_COOKIE_CLOCK_MASK;

        attrs->rcv_tsecr += rtt < LONGEST_RTT_MS ? rtt : 1;
    }
    return true;
}

/*
 * A bad cookie is either a later segment that overtook the first, and a reset would kill that connection:
 * dropped, it comes again, and by then the connection is there. Or it belongs to a connection that nobody has
 * any more (the blade or the dispatcher restarted), and the client must be told. What still comes after
 * seconds is of the second kind.
 */
static __always_inline bool is_stray(struct segment* s) {
    struct stray now = {bpf_ktime_get_ns(), 0};
    struct stray* known = bpf_map_lookup_elem(&strays, &s->sockets);

    now.last = now.first;
    /* After a longer pause than retransmissions make it is another connection, from the same port. */
    if (!known || now.last - known->last > STRAY_PAUSE_NS + 2 * (known->last - known->first)) {
        bpf_map_update_elem(&strays, &s->sockets, &now, BPF_ANY);
        return false;
    }
    known->last = now.last;
    if (now.last - known->first <= STRAY_NS) return false;
    bpf_map_delete_elem(&strays, &s->sockets); /* the client is told, and may use the port again */
    return true;
}

static __always_inline int assign(struct __sk_buff* skb, struct bpf_sock* listener,
                                  struct bpf_tcp_req_attrs* attrs) {
    struct sock* sk = (struct sock*)bpf_skc_to_tcp_sock(listener);
    int error = sk ? bpf_sk_assign_tcp_reqsk(skb, sk, attrs, sizeof(*attrs)) : -EINVAL;

    if (error == -ENOMEM) {
        count(KR_ACCEPT_FULL);
        return TC_ACT_SHOT;
    }
    count(error ? KR_ACCEPT_REFUSED : KR_ACCEPT_ASSIGNED);
    return TC_ACT_OK;
}

/* Two calls, each with a constant size: the verifier does not follow one that was stored. */
static __always_inline struct bpf_sock* find_socket(struct __sk_buff* skb, struct segment* s) {
    if (s->v6) return bpf_skc_lookup_tcp(skb, &s->sockets, sizeof(s->sockets.ipv6), BPF_F_CURRENT_NETNS, 0);
    return bpf_skc_lookup_tcp(skb, &s->sockets, sizeof(s->sockets.ipv4), BPF_F_CURRENT_NETNS, 0);
}

SEC("tc")
int keyrail_accept(struct __sk_buff* skb) {
    struct segment s = {};
    struct bpf_tcp_req_attrs attrs = {};
    struct bpf_sock* socket;
    int verdict = TC_ACT_OK;

    if (!parse(skb, &s)) return TC_ACT_OK;
    socket = find_socket(skb, &s);
    if (socket && socket->state != TCP_LISTEN_STATE) {
        bpf_sk_release(socket);
        return TC_ACT_OK;
    }
    if (!check(skb, &s, &attrs)) {
        if (!socket) return TC_ACT_OK; /* a stray segment and no server: the kernel resets it */
        bool stray = is_stray(&s);

        count(stray ? KR_ACCEPT_STRAY : KR_ACCEPT_BAD_COOKIE);
        verdict = stray ? TC_ACT_OK : TC_ACT_SHOT;
    } else if (!socket) {
        count(KR_ACCEPT_NO_LISTENER);
        return TC_ACT_SHOT;
    } else {
        verdict = assign(skb, socket, &attrs);
    }
    bpf_sk_release(socket);
    return verdict;
}

char _license[] SEC("license") = "Dual BSD/GPL";
