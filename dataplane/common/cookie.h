/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The SYN cookie that the dispatcher puts into a SYN-ACK and that the blade's accept program checks.
 * One text for both sides: plain C, no libc, no loops that the BPF verifier could not follow.
 *
 *   ISN   = mac[31:9] | parity of the period[8] | options
 *           options = mss class[7:6] | sack[5] | key id[4] | client wscale[3:0]
 *   TSval = mac[49:32] << 14 | when in the period, in units of 4 ms
 *
 * mac = SipHash-2-4 (64-bit result) over 43 bytes: source address and destination address of the SYN (16
 * bytes each, IPv4 as ::ffff:a.b.c.d), the client's ISN, source port, destination port, the option byte, the
 * period (16 bits, little-endian). Strength: 41 bits with timestamps, 23 without (Linux's own SYN cookies:
 * 22).
 *
 * Time is the dispatcher's TAI clock in ms; a period is 65 536 of them. A cookie is good in its own period
 * and in the next one, from KR_COOKIE_AHEAD_MS before the one to KR_COOKIE_AHEAD_MS before the other's end:
 * for 60 to 126 s, and where two clocks differ by no more than that. Blades are told the dispatcher's clock
 * (control/accept/accept.h), so that theirs may be wrong.
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

#define KR_COOKIE_PARITY_SHIFT 8
#define KR_COOKIE_PERIOD_SHIFT 16 /* a period in ms is a power of two */
#define KR_COOKIE_AHEAD_MS 5000u  /* so much earlier may the clock be that checks */
#define KR_COOKIE_CLOCK_BITS 14   /* low bits of TSval that are the clock */
#define KR_COOKIE_CLOCK_SHIFT 2   /* in units of 4 ms */
#define KR_COOKIE_GUESSES_PER_S                                                 \
    1000u /* then cookies without timestamps are not believed (for one service) \
           */

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

/* The sixth and last word of the message: its length, and what is behind the tuple. */
#define KR_COOKIE_LAST_WORD(options, period) (43ULL << 56 | (__u64)(__u16)(period) << 8 | (__u8)(options))

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

/* The period of this moment. */
KR_COOKIE_FN __u16 kr_cookie_period(__u32 tai_ms) { return (__u16)(tai_ms >> KR_COOKIE_PERIOD_SHIFT); }

/* The latest one that can have begun. */
KR_COOKIE_FN __u16 kr_cookie_latest(__u32 tai_ms) { return kr_cookie_period(tai_ms + KR_COOKIE_AHEAD_MS); }

/* The period of a cookie: that or the one before, by its parity. */
KR_COOKIE_FN __u16 kr_cookie_period_of(__u32 isn, __u16 latest) {
    return (__u16)(latest - ((latest ^ isn >> KR_COOKIE_PARITY_SHIFT) & 1));
}

/* SipHash-2-4 of the tuple, the option byte and the period. */
KR_COOKIE_FN __u64 kr_cookie_mac(const struct kr_cookie_tuple* tuple, __u8 options, __u16 period,
                                 const struct kr_cookie_key* key) {
    struct kr_sip s = {KR_SIP_V0 ^ key->k0, KR_SIP_V1 ^ key->k1, KR_SIP_V2 ^ key->k0, KR_SIP_V3 ^ key->k1};
    int i;

    for (i = 0; i < 6; i++) {
        __u64 m = i < 5 ? tuple->word[i] : KR_COOKIE_LAST_WORD(options, period);
        s.v3 ^= m;
        kr_sip_round(&s);
        kr_sip_round(&s);
        s.v0 ^= m;
    }
    s.v2 ^= 0xff;
    for (i = 0; i < 4; i++) kr_sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/* What a cookie says in the clear: its lowest nine bits. */
KR_COOKIE_FN __u16 kr_cookie_clear(__u8 options, __u16 period) {
    return (__u16)((period & 1u) << KR_COOKIE_PARITY_SHIFT | options);
}

KR_COOKIE_FN __u32 kr_cookie_isn(__u64 mac, __u16 clear) { return ((__u32)mac & ~0x1ffu) | clear; }

KR_COOKIE_FN __u32 kr_cookie_tsval(__u64 mac, __u32 tai_ms) {
    __u32 clock = tai_ms >> KR_COOKIE_CLOCK_SHIFT & ((1u << KR_COOKIE_CLOCK_BITS) - 1);
    return (__u32)(mac >> 32) << KR_COOKIE_CLOCK_BITS | clock;
}

/* Do ISN (ack - 1) and, where the client echoes one, TSecr carry this mac? */
KR_COOKIE_FN int kr_cookie_valid(__u64 mac, __u32 isn, int has_timestamp, __u32 tsecr) {
    if (((__u32)mac ^ isn) >> (KR_COOKIE_PARITY_SHIFT + 1)) return 0;
    return !has_timestamp || !((tsecr ^ kr_cookie_tsval(mac, 0)) >> KR_COOKIE_CLOCK_BITS);
}

/* How old a cookie is, in ms, by the timestamp that came back. Clocks that differ can make it negative. */
KR_COOKIE_FN __s32 kr_cookie_age_ms(__u16 period, __u32 tsecr, __u32 tai_ms) {
    __u32 clock = (tsecr & ((1u << KR_COOKIE_CLOCK_BITS) - 1)) << KR_COOKIE_CLOCK_SHIFT;
    return (__s32)(tai_ms - ((__u32)period << KR_COOKIE_PERIOD_SHIFT | clock));
}

#endif
