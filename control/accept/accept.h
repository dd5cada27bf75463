/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the accept program and the agent that loads it share: map layouts and the reasons that are counted. */
#ifndef KEYRAIL_ACCEPT_H
#define KEYRAIL_ACCEPT_H

#include <linux/types.h>

#include "dataplane/common/cookie.h"

#define KR_ACCEPT_SERVICES 4096 /* VIP:port pairs of one blade, at most */

#define KR_ACCEPT_STRAYS 8192 /* connections remembered for their bad cookies */

/* Map cookie_keys: [key id]. An entry that is not set must not match: its key would be all zero. */
struct kr_accept_key {
    struct kr_cookie_key key;
    __u32 set;
    __u32 unused;
};

/*
 * Map cookie_clock: [0]. The dispatcher's TAI clock, which cookies have their time from: this blade's
 * CLOCK_BOOTTIME and so many ms. keyraild tells it with each ping. Not set: this blade's own TAI clock.
 */
struct kr_accept_clock {
    __s64 ahead_ms;
    __u32 set;
    __u32 unused;
};

/* Map services: value. Failed guesses of cookies in one second, of segments without timestamps. */
struct kr_accept_guesses {
    __u64 second; /* of CLOCK_MONOTONIC */
    __u64 failed;
};

/* Map services: key. Only what goes to one of these is ever touched. */
struct kr_accept_service {
    __u8 address[16]; /* IPv4 as ::ffff:a.b.c.d */
    __u16 port;       /* host order */
    __u16 unused;
};

/*
 * Map accept_stats (per CPU, 64 bits each): [reason]. Each segment that the program decides about counts for
 * one reason; segments of connections that the blade has count for none. Name, text.
 */
#define KR_ACCEPT_REASON_LIST(X)                                                                            \
    X(ASSIGNED, assigned, "good cookie: the listening socket got the connection")                           \
    X(BAD_COOKIE, bad_cookie, "dropped: a forgery, an old key, or a later segment that came first")         \
    X(NO_LISTENER, no_listener, "dropped: good cookie, but no server; the client sends it again")           \
    X(FULL, full, "dropped: no memory for the connection; the client sends it again")                       \
    X(STRAY, stray, "bad cookie for seconds: left to the kernel, which resets the connection")              \
    X(REFUSED, refused, "the kernel would not take it (MPTCP listener): it resets the connection")          \
    X(TAKEN_OVER, taken_over, "good cookie: an old connection from the same port made room (TIME_WAIT)")    \
    X(IN_THE_WAY, in_the_way, "dropped: the old connection may be the newer one; makes room the next time") \
    X(GUESSED, guessed, "dropped: too many bad cookies in this second to believe one without timestamps")

enum kr_accept_reason {
#define X(NAME, name, text) KR_ACCEPT_##NAME,
    KR_ACCEPT_REASON_LIST(X)
#undef X
        KR_ACCEPT_REASONS
};

#endif
