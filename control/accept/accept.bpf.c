/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The blade's accept program, at TCX ingress: gives TCP connections whose SYN the dispatcher answered
 * (dataplane/common/cookie.h) to the server's listening socket. It acts on the first data segment that
 * reaches the blade, and on nothing that is not for a service. What can belong to a socket that there is
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
#include "control/accept/segment.bpf.h"
#include "control/accept/takeover.bpf.h"

#define TCP_LISTEN_STATE 10          /* TCP_LISTEN of the kernel's net/tcp_states.h */
#define STRAY_NS 3000000000ULL       /* longer than any first retransmission (RFC 6298: 1 s, then 2 s) */
#define STRAY_PAUSE_NS 1000000000ULL /* between retransmissions at first; later they double (RFC 6298) */
#define LONGEST_RTT_MS 320           /* of which the kernel makes an RTO of 960 ms */

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
    __type(value, struct kr_accept_guesses);
} services SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct kr_accept_clock);
} cookie_clock SEC(".maps");

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

static __always_inline void count(__u32 reason) {
    __u64* counter = bpf_map_lookup_elem(&accept_stats, &reason);

    if (counter) (*counter)++;
}

/* The dispatcher's clock. */
static __always_inline __u32 now_ms(void) {
    __u32 zero = 0;
    struct kr_accept_clock* clock = bpf_map_lookup_elem(&cookie_clock, &zero);

    if (!clock || !clock->set) return (__u32)(bpf_ktime_get_tai_ns() / 1000000);
    return (__u32)(bpf_ktime_get_boot_ns() / 1000000 + clock->ahead_ms);
}

/*
 * The kernel takes (its clock - tsecr) for the first RTT, which would be about 0 and cost clients that are
 * far away spurious retransmissions. The clock in TSval says how long ago the SYN-ACK was made. Of that, a
 * client that thought before it spoke has spent an unknown part: the bound keeps its RTO below the one second
 * that the kernel has for what it knows nothing of (RFC 6298 section 2.1).
 */
static __always_inline __u32 first_rtt_ms(__s32 age_ms) {
    if (age_ms < 1) return 1;
    return age_ms < LONGEST_RTT_MS ? age_ms : LONGEST_RTT_MS;
}

/* Checks the cookie; when it is good, `attrs` is what SYN and SYN-ACK had agreed on. */
static __always_inline bool check(struct __sk_buff* skb, struct segment* s, struct bpf_tcp_req_attrs* attrs) {
    __u32 cookie = bpf_ntohl(s->tcp.ack_seq) - 1;
    __u8 options = (__u8)cookie;
    __u32 key_id = (options & KR_COOKIE_KEY_ID) >> KR_COOKIE_KEY_SHIFT;
    struct kr_accept_key* key = bpf_map_lookup_elem(&cookie_keys, &key_id);
    __u32 now = now_ms();
    __u16 period = kr_cookie_period_of(cookie, kr_cookie_latest(now));
    __u64 mac;

    if (!key || !key->set) return false;
    parse_timestamp(skb, s);
    attrs->tstamp_ok = s->stamped;
    attrs->rcv_tsval = s->tsval;
    attrs->rcv_tsecr = s->tsecr;
    s->tuple.word[4] =
        kr_cookie_last(bpf_ntohl(s->tcp.seq) - 1, bpf_ntohs(s->tcp.source), bpf_ntohs(s->tcp.dest));
    mac = kr_cookie_mac(&s->tuple, options, period, &key->key);
    if (!kr_cookie_valid(mac, cookie, attrs->tstamp_ok, attrs->rcv_tsecr)) return false;

    attrs->mss =
        (__u16)((s->v6 ? KR_COOKIE_MSS6 : KR_COOKIE_MSS4) >> (16 * (options >> KR_COOKIE_MSS_SHIFT)));
    attrs->sack_ok = (options & KR_COOKIE_SACK) != 0;
    attrs->wscale_ok = (options & KR_COOKIE_WSCALE_MASK) != KR_COOKIE_NO_WSCALE;
    if (attrs->wscale_ok) {
        attrs->snd_wscale = options & KR_COOKIE_WSCALE_MASK;
        attrs->rcv_wscale = KR_COOKIE_WSCALE;
    }
    if (attrs->tstamp_ok) attrs->rcv_tsecr += first_rtt_ms(kr_cookie_age_ms(period, s->tsecr, now));
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

/*
 * Without timestamps a cookie is guessed within 8 million tries: who fails too often in a second is not
 * believed for the rest of it. False: there were too many.
 */
static __always_inline bool may_guess(struct kr_accept_guesses* guesses, bool failed) {
    __u64 second = bpf_ktime_get_ns() / 1000000000;

    if (guesses->second != second) {
        guesses->second = second;
        guesses->failed = 0;
    }
    if (failed) __sync_fetch_and_add(&guesses->failed, 1);
    return guesses->failed < KR_COOKIE_GUESSES_PER_S;
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

/*
 * A socket with these addresses and ports that is not listening: mostly the segment's own. Who knows its
 * addresses and ports could guess a cookie that ends it: failed guesses count as they do at the listening
 * socket. Acknowledgements without data are no guesses, a socket in TIME_WAIT gets them all the time: without
 * timestamps they take no place.
 */
static __always_inline int meet_socket(struct __sk_buff* skb, struct segment* s, struct bpf_sock* socket,
                                       struct kr_accept_guesses* guesses) {
    struct bpf_tcp_req_attrs attrs = {};
    struct old_connection old = {};

    if (socket->state == TIME_WAIT_STATE) parse_timestamp(skb, s);
    if (!in_the_way(socket, s, &old)) return TC_ACT_OK;
    bool good = check(skb, s, &attrs);

    if (!s->stamped && !has_payload(s)) return TC_ACT_OK;
    if (!good) {
        if (!s->stamped) may_guess(guesses, true);
        return TC_ACT_OK;
    }
    if (!s->stamped && !may_guess(guesses, false)) {
        count(KR_ACCEPT_GUESSED);
        return TC_ACT_SHOT;
    }
    if (!may_take_over(s, &old)) {
        count(KR_ACCEPT_IN_THE_WAY);
        return TC_ACT_SHOT;
    }
    if (!take_over(skb, s, &old)) return TC_ACT_SHOT;
    count(KR_ACCEPT_TAKEN_OVER);
    return TC_ACT_OK;
}

SEC("tc")
int keyrail_accept(struct __sk_buff* skb) {
    struct segment s = {};
    struct bpf_tcp_req_attrs attrs = {};
    struct kr_accept_guesses* guesses;
    struct bpf_sock* socket;
    int verdict = TC_ACT_OK;

    if (!parse_segment(skb, &s)) return TC_ACT_OK;
    guesses = bpf_map_lookup_elem(&services, &s.service);
    if (!guesses) return TC_ACT_OK;
    socket = find_socket(skb, &s);
    if (socket && socket->state != TCP_LISTEN_STATE) {
        verdict = meet_socket(skb, &s, socket, guesses);
        bpf_sk_release(socket);
        return verdict;
    }
    if (!check(skb, &s, &attrs)) {
        if (!socket) return TC_ACT_OK; /* a stray segment and no server: the kernel resets it */
        bool stray = is_stray(&s);

        if (!s.stamped) may_guess(guesses, true);
        count(stray ? KR_ACCEPT_STRAY : KR_ACCEPT_BAD_COOKIE);
        verdict = stray ? TC_ACT_OK : TC_ACT_SHOT;
    } else if (!socket) {
        count(KR_ACCEPT_NO_LISTENER);
        return TC_ACT_SHOT;
    } else if (!s.stamped && !may_guess(guesses, false)) {
        count(KR_ACCEPT_GUESSED);
        verdict = TC_ACT_SHOT;
    } else {
        verdict = assign(skb, socket, &attrs);
    }
    bpf_sk_release(socket);
    return verdict;
}

/*
 * The agent's own probe (BPF_PROG_RUN): the packet is received on the interface of index cb[0], as if it had
 * come from there, and so goes through the program above, the packet filter and TCP.
 */
SEC("tc")
int keyrail_receive(struct __sk_buff* skb) {
    return bpf_clone_redirect(skb, skb->cb[0], BPF_F_INGRESS) < 0 ? TC_ACT_SHOT : TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
