// SPDX-License-Identifier: Apache-2.0
// One route table of DPDK (rte_fib or rte_fib6) with what version 22.11 of it lacks:
//
// * No RCU: a change may empty a group of 256 entries ("tbl8") that a worker is just reading, and the next
// change may
//   reuse the group for other addresses. Emptied entries read as hop 0, which is our "unknown", so the first
//   is harmless. The second would send a packet to a wrong neighbour; therefore every change waits (Grace)
//   until all workers have passed a quiescent state since the change before it.
// * It miscounts its reserved groups when routes are deleted (IPv6 host routes are never given back; IPv4
// host routes
//   with the hop of their parent are given back without having been taken), and sooner or later says "full".
//   Then the table is built anew beside the old one and swapped in.
#pragma once

#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_version.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <string>

#include "dataplane/tables/grace.h"

namespace keyrail {

struct Fib4 {
    using Table = rte_fib;
    using Key = uint32_t;  // host order
    static Table* create(const char* name, uint32_t max_routes);
    static void destroy(Table* table) { rte_fib_free(table); }
    static int add(Table* table, const Key& key, uint8_t length, uint64_t hop) {
        return rte_fib_add(table, key, length, hop);
    }
    static int remove(Table* table, const Key& key, uint8_t length) {
        return rte_fib_delete(table, key, length);
    }
    static uint64_t find(Table* table, const Key& key, uint8_t length);  // 0: no such route
    /// Adds all routes of one table to another; 0 or a negative errno.
    static int copy(Table* from, Table* to);
};

// An IPv6 address as DPDK's tables take it: a type of its own since 24.11, 16 bytes before.
#if RTE_VERSION >= RTE_VERSION_NUM(24, 11, 0, 0)
inline const rte_ipv6_addr* rte6(const uint8_t* bytes) {
    return reinterpret_cast<const rte_ipv6_addr*>(bytes);
}
inline rte_ipv6_addr* rte6(uint8_t* bytes) { return reinterpret_cast<rte_ipv6_addr*>(bytes); }
inline rte_ipv6_addr* rte6s(uint8_t (*list)[16]) { return rte6(*list); }
#else
inline const uint8_t* rte6(const uint8_t* bytes) { return bytes; }
inline uint8_t* rte6(uint8_t* bytes) { return bytes; }
inline uint8_t (*rte6s(uint8_t (*list)[16]))[16] { return list; }
#endif

struct Fib6 {
    using Table = rte_fib6;
    using Key = std::array<uint8_t, 16>;
    static Table* create(const char* name, uint32_t max_routes);
    static void destroy(Table* table) { rte_fib6_free(table); }
    static int add(Table* table, const Key& key, uint8_t length, uint64_t hop) {
        return rte_fib6_add(table, rte6(key.data()), length, hop);
    }
    static int remove(Table* table, const Key& key, uint8_t length) {
        return rte_fib6_delete(table, rte6(key.data()), length);
    }
    static uint64_t find(Table* table, const Key& key, uint8_t length);
    static int copy(Table* from, Table* to);
};

template <typename Kind>
class Fib {
  public:
    using Key = typename Kind::Key;

    Fib(std::string name, uint32_t max_routes, Grace& grace)
        : name_(std::move(name)), max_routes_(max_routes), grace_(grace), table_(make()) {}
    ~Fib() { Kind::destroy(table_.load()); }
    Fib(const Fib&) = delete;
    Fib& operator=(const Fib&) = delete;

    [[nodiscard]] bool good() const { return table_.load() != nullptr; }
    /// For workers: valid until their next quiescent state.
    [[nodiscard]] typename Kind::Table* reader() const { return table_.load(std::memory_order_acquire); }
    [[nodiscard]] uint64_t find(const Key& key, uint8_t length) const {
        return Kind::find(table_, key, length);
    }

    /// 0 or a negative errno.
    int add(const Key& key, uint8_t length, uint64_t hop) {
        grace_.wait();
        int code = Kind::add(table_, key, length, hop);
        if (code == -ENOSPC && removed_ > 0 && rebuild()) code = Kind::add(table_, key, length, hop);
        grace_.changed();
        return code;
    }
    bool remove(const Key& key, uint8_t length) {
        grace_.wait();
        const bool done = Kind::remove(table_, key, length) == 0;
        removed_ += done ? 1 : 0;
        grace_.changed();
        return done;
    }

  private:
    typename Kind::Table* make() {
        generation_ ^= 1;
        return Kind::create((name_ + std::to_string(generation_)).c_str(), max_routes_);
    }
    bool rebuild() {
        typename Kind::Table* fresh = make();
        if (fresh == nullptr || Kind::copy(table_, fresh) != 0) {
            Kind::destroy(fresh);
            generation_ ^= 1;
            return false;
        }
        typename Kind::Table* old = table_.exchange(fresh, std::memory_order_acq_rel);
        grace_.changed();
        grace_.wait();
        Kind::destroy(old);
        removed_ = 0;
        return true;
    }

    std::string name_;
    uint32_t max_routes_;
    unsigned generation_ = 0;
    uint64_t removed_ = 0;  // since it was built: without any, "full" is the truth
    Grace& grace_;
    std::atomic<typename Kind::Table*> table_;
};

}  // namespace keyrail
