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

/* Map services: only what goes to one of these is ever touched. */
struct kr_accept_service {
    __u8 address[16]; /* IPv4 as ::ffff:a.b.c.d */
    __u16 port;       /* host order */
    __u16 unused;
};

/* Map accept_stats (per CPU): [reason]. */
enum kr_accept_reason {
    KR_ACCEPT_ASSIGNED,    /* good cookie: the listening socket got the connection */
    KR_ACCEPT_BAD_COOKIE,  /* dropped: a forgery, an old key, or a later segment that came first */
    KR_ACCEPT_NO_LISTENER, /* dropped: good cookie, but no server; the client's retransmission goes elsewhere
                            */
    KR_ACCEPT_FULL,        /* dropped: no memory for the connection; the client retransmits */
    KR_ACCEPT_STRAY,       /* bad cookie for seconds: left to the kernel, which resets the connection */
    KR_ACCEPT_REFUSED,     /* the kernel would not take it (MPTCP listener): it resets the connection */
    KR_ACCEPT_REASONS
};

#endif
