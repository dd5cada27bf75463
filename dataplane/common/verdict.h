// SPDX-License-Identifier: Apache-2.0
// What becomes of a packet, and why. Every reason is a counter, and every reason has a test.
//
// Conservation, in sum over the workers:
//   rx == tx + punt + held now + sum of all drop reasons        (DESIGN.md section 9)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace keyrail {

/// Where a packet goes after the pipeline.
enum class Action : uint8_t {
    drop,     // freed; the reason names the counter
    forward,  // to NextHop
    reply,    // back out of the port it came from (the SYN-ACK was built in it)
    punt,     // to the kernel, through the TAP of its port
    hold,     // the hold table owns the mbuf now
    handoff,  // to the worker that owns the flow
};

// name, text for people. Order is the order of `keyrail stats`.
#define KEYRAIL_REASONS(X)                                                                          \
    /* forwarded */                                                                                 \
    X(flow, "established flow, forwarded to its blade")                                             \
    X(flow_syn, "SYN of a known flow, forwarded to its blade")                                      \
    X(steer_home, "ClientHello forwarded to the home of its session")                               \
    X(steer_moved, "ClientHello forwarded to the holder of a moved session")                        \
    X(steer_move, "ClientHello forwarded after its session was moved")                              \
    X(steer_move_failed, "ClientHello forwarded though its session could not be moved")             \
    X(steer_move_late, "hold budget spent before the move was acknowledged")                        \
    X(steer_new, "ClientHello without a session name, by Maglev")                                   \
    X(steer_ticket, "ClientHello with a foreign ticket, forwarded to the blade that has its key")   \
    X(steer_foreign, "ClientHello with a name that is not ours, by Maglev")                         \
    X(steer_not_worth, "ClientHello whose session is not worth a move, by Maglev")                  \
    X(steer_long_wait, "ClientHello whose session would come later than a full handshake ends")     \
    X(steer_content, "ClientHello whose session may not move to the content, by Maglev")            \
    X(steer_no_control, "ClientHello whose session cannot be moved: no control plane")              \
    X(steer_holder_down, "ClientHello whose session went down with its blade, by Maglev")           \
    X(steer_not_tls, "first segment is not TLS, by Maglev")                                         \
    X(steer_malformed, "malformed ClientHello, by Maglev")                                          \
    X(steer_incomplete, "ClientHello not complete in time, by Maglev, and read further in passing") \
    X(steer_too_long, "ClientHello longer than the service allows, by Maglev")                      \
    X(steer_hold_full, "incomplete ClientHello that made room for others, by Maglev")               \
    X(steer_tuple, "service without session steering, by Maglev")                                   \
    X(bind_early, "SYN, or the packet after it, of a service with early binding, by Maglev")        \
    X(steer_midstream, "packet of an unknown flow, by Maglev")                                      \
    X(hello_rest, "further segment of a held ClientHello")                                          \
    X(icmp_error, "ICMP error, forwarded to the blade that has the connection")                     \
    X(returned, "from a blade to its client")                                                       \
    X(from_kernel, "from the kernel to the wire")                                                   \
    X(handed_over, "given to the worker that owns the flow")                                        \
    /* answered */                                                                                  \
    X(syn_cookie, "SYN answered with a cookie")                                                     \
    X(keepalive_answered, "keep-alive probe before the ClientHello, answered from its cookie")      \
    X(too_big_answered, "packet that its link cannot carry, answered with ICMP")                    \
    X(ping_answered, "ICMP echo request to a VIP, answered")                                        \
    X(refused_reset, "TCP that nobody serves, answered with RST")                                   \
    X(refused_icmp, "UDP to a VIP, answered with port unreachable")                                 \
    /* punted */                                                                                    \
    X(punt_not_service, "not for a service: to the kernel")                                         \
    X(punt_unresolved, "next hop not resolved: to the kernel, which resolves it")                   \
    /* dropped */                                                                                   \
    X(drop_ack_cookie, "bare ACK that completes a handshake: nothing to do")                        \
    X(drop_arrival, "from an agent: a session has arrived; its hold was told")                      \
    X(drop_rst_cookie, "of a connection that its client gave up before a blade had it")             \
    X(drop_truncated, "headers cut short or lengths that contradict each other")                    \
    X(drop_other_mac, "for a service, but for another MAC than its port's: another dispatcher's")   \
    X(drop_fragment, "IP fragment for a service")                                                   \
    X(drop_icmp_unowned, "ICMP error about a connection that no blade has")                         \
    X(drop_no_blade, "no blade of the pool is up")                                                  \
    X(drop_service_gone, "held segment of a service that is no longer configured")                  \
    X(drop_no_service, "for a VIP's port without a service, refused in silence")                    \
    X(drop_no_ping, "ICMP echo request to a VIP that does not answer, or has no blade")             \
    X(drop_answer_limit, "an echo reply or a refusal too many in a second")                         \
    X(drop_blade_unresolved, "the blade's MAC is not known")                                        \
    X(drop_no_memory, "no mbuf or hold segment left")                                               \
    X(drop_tx_full, "transmit queue full")                                                          \
    X(drop_punt_full, "the kernel's queue is full")                                                 \
    X(drop_handoff_full, "the other worker's queue is full")                                        \
    X(drop_out_of_window, "segment outside of the window of a connection that no blade has yet")    \
    X(drop_cookie_guess, "good cookie without timestamps, in a second with too many bad ones")      \
    X(drop_too_big, "packet that its link cannot carry, and an ICMP error too many")                \
    X(drop_ask_full, "packet too many of a connection whose blade is being asked for")              \
    X(drop_duplicate, "copy of a held segment")

enum class Reason : uint8_t {
#define X(name, text) name,
    KEYRAIL_REASONS(X)
#undef X
        count
};
inline constexpr size_t kReasons = static_cast<size_t>(Reason::count);

struct ReasonText {
    std::string_view name, text;
};
inline constexpr std::array<ReasonText, kReasons> kReasonTexts = {{
#define X(name, text) {#name, text},
    KEYRAIL_REASONS(X)
#undef X
}};

constexpr bool is_drop(Reason reason) {
    return kReasonTexts[static_cast<size_t>(reason)].name.starts_with("drop_");
}

}  // namespace keyrail
