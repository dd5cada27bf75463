/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The SYN cookie that the dispatcher puts into a SYN-ACK and that the blade's accept program checks.
 * One text for both sides: plain C, no libc, no loops that the BPF verifier could not follow.
 *
 *   ISN   = mac[31:8] | options        options = mss class[7:6] | sack[5] | key id[4] | client wscale[3:0]
 *   TSval = mac[51:32] << 12 | the dispatcher's TAI clock in ms, modulo 4096
 *
 * mac = SipHash-2-4 (64-bit result) over 41 bytes: source address and destination address of the SYN (16
 * bytes each, IPv4 as ::ffff:a.b.c.d), the client's ISN, source port, destination port, the option byte.
 * Strength: 44 bits with timestamps, 24 without (as Linux's own SYN cookies).
 */
#ifndef KEYRAIL_COOKIE_H
#define KEYRAIL_COOKIE_H

#include <linux/types.h>

#ifdef __cplusplus
#define KR_COOKIE_FN static inline
#else
#define KR_COOKIE_FN static inline __attribute__((always_inline))
#endif

#define KR_COOKIE_WSCALE 7     /* our own window scale, in every SYN-ACK; the blade's rcv_wscale */
#define KR_COOKIE_WINDOW 64240 /* window in every SYN-ACK */
#define KR_COOKIE_NO_WSCALE 15 /* client offered none */

#define KR_COOKIE_MSS_SHIFT 6
#define KR_COOKIE_SACK 0x20
#define KR_COOKIE_KEY_ID 0x10
#define KR_COOKIE_KEY_SHIFT 4
#define KR_COOKIE_WSCALE_MASK 0x0f

/* Four MSS classes, 16 bits each, packed (a small const array lands in .rodata.cst8, which libbpf 1.1
 * refuses). */
#define KR_COOKIE_MSS4 (536ULL | 1220ULL << 16 | 1440ULL << 32 | 1460ULL << 48)
#define KR_COOKIE_MSS6 (1220ULL | 1380ULL << 16 | 1420ULL << 32 | 1440ULL << 48)

#define KR_COOKIE_CLOCK_MASK 0xfffu /* low bits of TSval that are the clock, in ms */

struct kr_cookie_key {
    __u64 k0, k1; /* the 16 key bytes, little-endian */
};

/* 40 bytes in memory order, read as five 64-bit little-endian words. */
struct kr_cookie_tuple {
    __u64 word[5]; /* source[0..1], destination[2..3], then kr_cookie_last() */
};

/* Fifth word: client ISN, source port, destination port, all in host order. */
KR_COOKIE_FN __u64 kr_cookie_last(__u32 client_isn, __u16 source_port, __u16 destination_port) {
    return (__u64)client_isn << 32 | (__u32)source_port << 16 | destination_port;
}

/* Second word of an IPv4-mapped address: `address` as it lies in the packet (network order). */
KR_COOKIE_FN __u64 kr_cookie_mapped4(__u32 address) { return (__u64)address << 32 | 0xffff0000u; }

/* SipHash's state and one of its rounds (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012). */
struct kr_sip {
    __u64 v0, v1, v2, v3;
};

#define KR_SIP_V0 0x736f6d6570736575ULL
#define KR_SIP_V1 0x646f72616e646f6dULL
#define KR_SIP_V2 0x6c7967656e657261ULL
#define KR_SIP_V3 0x7465646279746573ULL

/* The sixth and last word of the message: its length, and the one byte behind the tuple. */
#define KR_COOKIE_LAST_WORD(options) (41ULL << 56 | (options))

KR_COOKIE_FN __u64 kr_rotate_left(__u64 x, int bits) { return (x << bits) | (x >> (64 - bits)); }

KR_COOKIE_FN void kr_sip_round(struct kr_sip* s) {
    s->v0 += s->v1;
    s->v1 = kr_rotate_left(s->v1, 13) ^ s->v0;
    s->v0 = kr_rotate_left(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = kr_rotate_left(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = kr_rotate_left(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = kr_rotate_left(s->v1, 17) ^ s->v2;
    s->v2 = kr_rotate_left(s->v2, 32);
}

/* SipHash-2-4 of the tuple and the option byte. */
KR_COOKIE_FN __u64 kr_cookie_mac(const struct kr_cookie_tuple* tuple, __u8 options,
                                 const struct kr_cookie_key* key) {
    struct kr_sip s = {KR_SIP_V0 ^ key->k0, KR_SIP_V1 ^ key->k1, KR_SIP_V2 ^ key->k0, KR_SIP_V3 ^ key->k1};
    int i;

    for (i = 0; i < 6; i++) {
        __u64 m = i < 5 ? tuple->word[i] : KR_COOKIE_LAST_WORD(options);
        s.v3 ^= m;
        kr_sip_round(&s);
        kr_sip_round(&s);
        s.v0 ^= m;
    }
    s.v2 ^= 0xff;
    for (i = 0; i < 4; i++) kr_sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

KR_COOKIE_FN __u32 kr_cookie_isn(__u64 mac, __u8 options) { return ((__u32)mac & ~0xffu) | options; }

KR_COOKIE_FN __u32 kr_cookie_tsval(__u64 mac, __u32 tai_ms) {
    return (__u32)(mac >> 32) << 12 | (tai_ms & KR_COOKIE_CLOCK_MASK);
}

/* Do ISN (ack - 1) and, where the client echoes one, TSecr carry this mac? */
KR_COOKIE_FN int kr_cookie_valid(__u64 mac, __u32 isn, int has_timestamp, __u32 tsecr) {
    if (((__u32)mac ^ isn) >> 8) return 0;
    return !has_timestamp || !((tsecr ^ kr_cookie_tsval(mac, 0)) >> 12);
}

#endif
