// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/fib.h"

#include <rte_memory.h>
#include <rte_rib.h>
#include <rte_rib6.h>

namespace keyrail {
namespace {

// Each group of 256 two-byte entries takes 512 bytes. An IPv6 host route may need one for each of its last 13
// bytes.
constexpr uint32_t kGroups4 = 8192;
constexpr uint32_t kGroups6 = 16384;

}  // namespace

rte_fib* Fib4::create(const char* name, uint32_t max_routes) {
    rte_fib_conf conf{};
    conf.type = RTE_FIB_DIR24_8;
    conf.default_nh = 0;
    conf.max_routes = static_cast<int>(max_routes);
    conf.dir24_8.nh_sz = RTE_FIB_DIR24_8_2B;
    conf.dir24_8.num_tbl8 = kGroups4;
    return rte_fib_create(name, SOCKET_ID_ANY, &conf);
}

uint64_t Fib4::find(rte_fib* table, const Key& key, uint8_t length) {
    uint64_t hop = 0;
    if (rte_rib_node* node = rte_rib_lookup_exact(rte_fib_get_rib(table), key, length))
        rte_rib_get_nh(node, &hop);
    return hop;
}

int Fib4::copy(rte_fib* from, rte_fib* to) {
    rte_rib* rib = rte_fib_get_rib(from);
    const auto add = [to](rte_rib_node* node) {
        uint32_t ip = 0;
        uint8_t length = 0;
        uint64_t hop = 0;
        rte_rib_get_ip(node, &ip);
        rte_rib_get_depth(node, &length);
        rte_rib_get_nh(node, &hop);
        return rte_fib_add(to, ip, length, hop);
    };
    int code = 0;
    if (rte_rib_node* whole = rte_rib_lookup_exact(rib, 0, 0)) code = add(whole);  // the walk leaves it out
    rte_rib_node* node = nullptr;
    while (code == 0 && (node = rte_rib_get_nxt(rib, 0, 0, node, RTE_RIB_GET_NXT_ALL)) != nullptr)
        code = add(node);
    return code;
}

rte_fib6* Fib6::create(const char* name, uint32_t max_routes) {
    rte_fib6_conf conf{};
    conf.type = RTE_FIB6_TRIE;
    conf.default_nh = 0;
    conf.max_routes = static_cast<int>(max_routes);
    conf.trie.nh_sz = RTE_FIB6_TRIE_2B;
    conf.trie.num_tbl8 = kGroups6;
    return rte_fib6_create(name, SOCKET_ID_ANY, &conf);
}

uint64_t Fib6::find(rte_fib6* table, const Key& key, uint8_t length) {
    uint64_t hop = 0;
    auto* node = rte_rib6_lookup_exact(rte_fib6_get_rib(table), rte6(key.data()), length);
    if (node != nullptr) rte_rib6_get_nh(node, &hop);
    return hop;
}

int Fib6::copy(rte_fib6* from, rte_fib6* to) {
    constexpr uint8_t kAny[16] = {};
    rte_rib6* rib = rte_fib6_get_rib(from);
    const auto add = [to](rte_rib6_node* node) {
        uint8_t ip[16];
        uint8_t length = 0;
        uint64_t hop = 0;
        rte_rib6_get_ip(node, rte6(ip));
        rte_rib6_get_depth(node, &length);
        rte_rib6_get_nh(node, &hop);
        return rte_fib6_add(to, rte6(ip), length, hop);
    };
    int code = 0;
    if (rte_rib6_node* whole = rte_rib6_lookup_exact(rib, rte6(kAny), 0))
        code = add(whole);  // the walk leaves it out
    rte_rib6_node* node = nullptr;
    while (code == 0 &&
           (node = rte_rib6_get_nxt(rib, rte6(kAny), 0, node, RTE_RIB6_GET_NXT_ALL)) != nullptr) {
        code = add(node);
    }
    return code;
}

}  // namespace keyrail
