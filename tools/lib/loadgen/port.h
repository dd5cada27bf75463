// SPDX-License-Identifier: Apache-2.0
// One end of the generator: a DPDK device with one queue each way. What the device does not take at once
// waits here and goes first the next time: a device under test may drop, its generator must not.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "dataplane/common/result.h"
#include "tools/lib/loadgen/wire.h"

struct rte_mbuf;
struct rte_mempool;

namespace keyrail::loadgen {

class Port {
  public:
    static constexpr uint16_t kBurst = 64;

    /// `device` as in a profile: "net_memif0,role=client,socket=/run/x", "net_af_xdp0,iface=eth1".
    static Result<std::unique_ptr<Port>> open(const std::string& device, rte_mempool* pool);
    explicit Port(uint16_t id) : id_(id) {}
    Port(const Port&) = delete;
    Port& operator=(const Port&) = delete;
    ~Port();

    [[nodiscard]] bool linked() const;

    /// Up to kBurst frames, which are the caller's from here on; none while there is no room for what may
    /// have to be said to them.
    uint16_t receive(rte_mbuf** out);
    [[nodiscard]] bool room() const { return waiting_ + 3u * kBurst <= queue_.size(); }
    /// Only while there is room(), for one more burst: to each frame an ACK and a hello of two segments may
    /// be the answer. `into`: a fresh mbuf, or the one that is answered.
    void send(rte_mbuf* into, const Path& path, const Segment& segment, uint32_t tsecr,
              const Payload& payload);
    void flush();

    [[nodiscard]] uint64_t received() const { return received_; }
    [[nodiscard]] uint64_t sent() const { return sent_; }
    [[nodiscard]] uint64_t refused() const { return refused_; }  // times that the device did not take all

  private:
    const uint16_t id_;
    uint16_t waiting_ = 0;
    std::array<rte_mbuf*, 1024> queue_{};
    uint64_t received_ = 0, sent_ = 0, refused_ = 0;
};

}  // namespace keyrail::loadgen
