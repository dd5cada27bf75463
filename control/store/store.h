// SPDX-License-Identifier: Apache-2.0
// The blade's session store: TLS sessions in a file on tmpfs that the agent makes and that every TLS server
// process of the blade maps (through libkeyrail-tls.so). Bounded; the oldest session goes first when it is
// full.
//
// Any process may be killed at any moment: a shard whose lock holder died is rebuilt from its committed
// records. Every operation is thread-safe and fork-safe. Times are unix milliseconds; sizes are bytes.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "control/store/published.h"
#include "control/store/store_control.h"
#include "dataplane/common/result.h"
#include "dataplane/common/session_name.h"

namespace keyrail {

inline constexpr size_t kMaxSessionDer = 8192;
inline constexpr size_t kMaxIdContext = 32;  // SSL_MAX_SID_CTX_LENGTH
inline constexpr const char* kDefaultStorePath = "/dev/shm/keyrail/store";

/// SHA-256, chained over every handshake made with a session: tells its latest record from an older copy.
using SessionDigest = std::array<uint8_t, 32>;

/// What may be said of a session without its secrets.
struct SessionInfo {
    SessionName name{};
    uint16_t tls_version = 0;  // 0x0303, 0x0304
    uint16_t port = 0;         // service port, 0 when not known
    bool single_use = false;
    bool moved_in = false;          // its home is another blade
    bool early_data_spent = false;  // from the repository: resumed, but never with early data
    uint32_t uses = 0;              // resumptions since the full handshake
    uint64_t created_ms = 0;
    uint64_t authenticated_ms = 0;  // when the full handshake was made
    uint64_t expires_ms = 0;
    uint64_t service = 0;  // service_id(), 0 when not known
    SessionDigest digest{};
};

/// One session with its keys. Wiped when it goes out of scope.
struct SessionRecord : SessionInfo {
    SessionRecord() = default;
    SessionRecord(const SessionRecord&) = delete;
    SessionRecord& operator=(const SessionRecord&) = delete;
    ~SessionRecord() { wipe(); }
    void wipe();
    [[nodiscard]] std::span<const uint8_t> der_bytes() const { return {der.data(), der_size}; }
    [[nodiscard]] std::span<const uint8_t> id_context_bytes() const {
        return {id_context.data(), id_context_size};
    }

    uint8_t id_context_size = 0;
    uint16_t der_size = 0;
    std::array<uint8_t, kMaxIdContext> id_context;  // the bytes past id_context_size are not initialised
    std::array<uint8_t, kMaxSessionDer> der;        // i2d_SSL_SESSION; likewise
};

/// What handshakes cost the server, summed up since the slot has its service.
struct HandshakeCost {
    uint64_t service = 0;  // service_id(), 0: not known
    bool tls13 = false;    // else an older version
    bool resumed = false;
    uint64_t count = 0, cpu_ns = 0, wall_ns = 0;
};

struct StoreStats {
    uint64_t sessions = 0, bytes = 0, capacity_bytes = 0;
    uint64_t puts = 0, hits = 0, misses = 0, evicted = 0, expired = 0;
    uint64_t rebuilt = 0;            // shards rebuilt after a process died inside
    uint64_t resumed = 0, full = 0;  // handshakes
};

/// How the file is divided; from its size alone, never read back from the shared memory.
struct StoreGeometry {
    uint32_t shards = 0;
    uint32_t chunks = 0, buckets = 0;  // per shard
    uint32_t journal = 0;              // entries per shard, a power of two
    uint64_t shard_bytes = 0;
    uint64_t journal_offset = 0, chunk_offset = 0;  // of the first entry and chunk within their shard
};

class Store {
  public:
    enum class Put { kStored, kRefused, kUnavailable };

    /// Position of a walk over all names. Starts at the default value; done() after the last batch.
    struct Cursor {
        uint32_t shard = 0, chunk = 0;
        bool finished = false;
        [[nodiscard]] bool done() const { return finished; }
    };
    enum class Which { kAll, kMovedIn };

    /// The agent's side: re-attaches to the file at `path` when it is a store of this layout and size, else
    /// puts a new, empty one in its place. Locks the pages and keeps a second agent out. `warning` is set
    /// when locking was refused (RLIMIT_MEMLOCK): the store works, but could be swapped out.
    static Result<Store> create(const std::string& path, uint64_t size_bytes, const std::string& group,
                                std::string* warning);
    /// The hooks' side.
    static Result<Store> open(const std::string& path);

    Store(Store&& other) noexcept;
    Store& operator=(Store&& other) noexcept;
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;
    ~Store();

    /// Stores a copy of the record in place of one with the same name. kRefused: sizes out of bounds.
    Put put(const SessionRecord& record);
    /// Takes the record out: of any number of callers exactly one gets it.
    bool take(const SessionName& name, SessionRecord& out);
    bool copy(const SessionName& name, SessionRecord& out);
    /// What a TLS server does with a name that a client offers: a single-use session is taken, a reusable one
    /// is copied; one that is expired is destroyed; one of another TLS version stays. True: `out` is to be
    /// resumed.
    bool resume(const SessionName& name, uint16_t tls_version, uint64_t now_ms, SessionRecord& out);
    [[nodiscard]] std::optional<SessionInfo> peek(const SessionName& name) const;
    [[nodiscard]] bool contains(const SessionName& name) const { return peek(name).has_value(); }
    bool erase(const SessionName& name);
    /// A handshake was made with the session and it stays: one use more, and a new digest. False: it is gone,
    /// or was used otherwise since it had `uses_before`.
    bool advance(const SessionName& name, uint32_t uses_before, const SessionDigest& digest);

    /// The next batch of about `most` sessions; one shard is locked at a time, briefly.
    std::vector<SessionInfo> list(Cursor& cursor, Which which, size_t most) const;
    /// What happened since the cursor was last used; all that is still known when it is new. A session that
    /// moves away, expires or makes room is no change: it is not gone, it is no longer here. The number of
    /// changes that were forgotten before they were read.
    struct Change {
        SessionName name{};
        bool gone = false;  // used up, or destroyed on purpose
    };
    using JournalCursor = std::vector<uint64_t>;  // by shard
    uint64_t changes(JournalCursor& cursor, std::vector<Change>& out) const;
    /// Destroys what has expired in the next shard; call it often, each call does 1/shards of the store.
    void sweep(uint64_t now_ms);

    void count_handshake(bool resumed);
    /// What one handshake of the service in this slot took.
    void add_cost(uint16_t slot, bool tls13, bool resumed, uint64_t cpu_ns, uint64_t wall_ns);
    /// Of all services, as far as there are any.
    [[nodiscard]] std::vector<HandshakeCost> costs() const;
    [[nodiscard]] uint64_t handshakes() const;
    [[nodiscard]] StoreStats stats() const;

    /// One writer (the agent). Costs of a slot that changes its service start again.
    void set_control(const StoreControl& control);
    /// What the agent tells the servers, read in place.
    [[nodiscard]] const Published<StoreControl>& control() const;

    /// Device and inode of the mapped file: another inode at the same path means that the agent made a new
    /// store.
    [[nodiscard]] uint64_t inode() const { return inode_; }
    [[nodiscard]] uint64_t device() const { return device_; }
    /// Whose file it is: the agent's user.
    [[nodiscard]] uint32_t owner() const { return owner_; }

  private:
    friend class ShardGuard;
    Store() = default;
    void unmap();
    void identify(uint64_t device, uint64_t inode, uint32_t owner) {
        device_ = device;
        inode_ = inode;
        owner_ = owner;
    }

    uint8_t* base_ = nullptr;
    uint64_t size_ = 0;
    StoreGeometry geometry_;
    uint64_t inode_ = 0, device_ = 0;
    uint32_t owner_ = 0;
    int lock_fd_ = -1;  // agent only: holds the file lock
    uint32_t sweep_next_ = 0;
};

/// Current unix time in ms.
uint64_t wall_clock_ms();

}  // namespace keyrail
