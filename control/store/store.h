// SPDX-License-Identifier: Apache-2.0
// The blade's session store: TLS sessions in shared memory that the agent makes and that every TLS server
// process of the blade attaches (through libkeyrail-tls.so). Bounded; the oldest session goes first when it
// is full. A small file says which memory it is (System V shared memory, shmat(2): nobody can make it
// smaller, unlike a file; it needs no descriptor and no path, so that a server in a chroot finds its
// successor; and it lives exactly as long as the agent or a server process has it).
//
// Any process may be killed, stopped or taken over at any moment: a shard whose lock holder died is rebuilt
// from its committed records, and one whose holder does not give it back is done without. Every operation is
// thread-safe and fork-safe. Times are unix milliseconds; sizes are bytes.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "control/store/published.h"
#include "control/store/store_control.h"
#include "dataplane/common/result.h"
#include "dataplane/common/session_name.h"

namespace keyrail {

namespace layout {
struct ShardHeader;
}

inline constexpr size_t kMaxSessionDer = 8192;
inline constexpr uint32_t kMaxUses = 65'536;  // of one full handshake, where tickets are not single-use
inline constexpr const char* kDefaultStorePath = "/dev/shm/keyrail/store";

/// SHA-256, chained over every handshake made with a session: tells its latest record from an older copy.
using SessionDigest = std::array<uint8_t, 32>;
/// Which store it is: random, of its own for each.
using StoreToken = std::array<uint8_t, 16>;

/// What the site demands of its clients where the session was made (control/hooks/site.h). Only a site with
/// the same mark may have it; nobody but the hooks looks into it.
using SiteMark = std::array<uint8_t, 32>;

/// keyraild's word that a session is on this blade by its order (it has a MAC in it; nobody here looks into
/// it). Zeroes: it was made here.
using MoveReceipt = std::array<uint8_t, 16>;

/// Who asks for a session to resume it.
struct Resumer {
    Resumer(TlsVersion version, const SiteMark& one = {}, const SiteMark& other = {})
        : tls_version(version), sites{one, other} {}

    TlsVersion tls_version;
    std::array<SiteMark, 2> sites;  // whose sessions it may have

    [[nodiscard]] bool may_have(const SiteMark& site) const { return site == sites[0] || site == sites[1]; }
};

/// What may be said of a session without its secrets.
struct SessionInfo {
    SessionName name{};
    TlsVersion tls_version = TlsVersion::unknown;
    uint16_t port = 0;  // service port, 0 when not known
    bool single_use = false;
    bool moved_in = false;  // its home is another blade
    bool early_data_spent =
        false;          // resumed, but never with early data: it had some, or is from the repository
    uint32_t uses = 0;  // resumptions since the full handshake
    uint64_t created_ms = 0;
    uint64_t authenticated_ms = 0;  // when the full handshake was made
    uint64_t expires_ms = 0;
    ServiceId service;
    SessionDigest digest{};
    SiteMark site{};
    MoveReceipt receipt{};
};

/// One session with its keys. Wiped when it goes out of scope.
struct SessionRecord : SessionInfo {
    SessionRecord() = default;
    SessionRecord(const SessionRecord&) = delete;
    SessionRecord& operator=(const SessionRecord&) = delete;
    ~SessionRecord() { wipe(); }
    void wipe();
    [[nodiscard]] std::span<const uint8_t> der_bytes() const { return {der.data(), der_size}; }

    uint16_t der_size = 0;
    std::array<uint8_t, kMaxSessionDer> der;  // i2d_SSL_SESSION; the bytes past der_size are not initialised
};

/// What handshakes cost the server, summed up since the slot has its service.
struct HandshakeCost {
    ServiceId service;
    bool tls13 = false;  // else an older version
    bool resumed = false;
    uint64_t count = 0, cpu_ns = 0, wall_ns = 0;
};

struct StoreStats {
    uint64_t sessions = 0, bytes = 0, capacity_bytes = 0;
    uint64_t puts = 0, hits = 0, misses = 0, evicted = 0, expired = 0;
    uint64_t rebuilt = 0;            // shards rebuilt after a process died inside
    uint64_t resumed = 0, full = 0;  // handshakes
};

/// How the store is divided; from its size alone, never read back from the shared memory.
struct StoreGeometry {
    uint32_t shards = 0;
    uint32_t chunks = 0, buckets = 0;  // per shard
    uint32_t journal = 0;              // entries per shard, a power of two
    uint64_t shard_bytes = 0;
    uint64_t journal_offset = 0, chunk_offset = 0;  // of the first entry and chunk within their shard
};

class Store {
  public:
    enum class Put { kStored, kRefused, kUnavailable, kPurged };

    /// Position of a walk over all names. Starts at the default value; done() after the last batch.
    struct Cursor {
        uint32_t shard = 0, chunk = 0;
        bool finished = false;
        [[nodiscard]] bool done() const { return finished; }
    };
    enum class Which { kAll, kMovedIn };

    /// What became of a store that had to make room for a new one (another size, another layout).
    struct Replaced {
        uint64_t old_bytes = 0;
        bool readable = false;  // else it was of another release, and its sessions are lost
        uint64_t carried = 0, lost = 0;
        uint32_t shards_held = 0;  // by a process that did not give them back: their sessions are lost
    };

    /// The agent's side: re-attaches to the store that the file at `path` names when it is of this layout and
    /// size. Else makes a new one, takes the sessions over as far as they fit, and tells the servers in the
    /// old one's memory where to go. Keeps a second agent out. `warning` is set when the memory could not be
    /// locked (RLIMIT_MEMLOCK): the store works, but could be swapped out. `group` may use the store, beside
    /// its owner.
    static Result<Store> create(const std::string& path, uint64_t size_bytes, const std::string& group,
                                std::string* warning);
    /// The agent's side, when shards are held by a process that does not give them back: a new store in place
    /// of this one, as create() makes it. On failure this one goes on.
    Result<void> renew(const std::string& path, const std::string& group);
    /// The hooks' side.
    static Result<Store> open(const std::string& path);
    /// The store that took this one's place.
    [[nodiscard]] Result<Store> successor() const;
    /// It is not to be used any more: servers go on with successor(), or with what the file names.
    [[nodiscard]] bool retired() const;
    [[nodiscard]] const std::optional<Replaced>& replaced() const { return replaced_; }

    Store(Store&& other) noexcept;
    Store& operator=(Store&& other) noexcept;
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;
    ~Store();

    /// Stores a copy of the record in place of one with the same name. kRefused: sizes out of bounds.
    /// `since`: purges() before the session was taken out, or that which it was made of; kPurged: there has
    /// been one.
    Put put(const SessionRecord& record, std::optional<uint32_t> since = std::nullopt);
    /// Takes the record out: of any number of callers exactly one gets it.
    bool take(const SessionName& name, SessionRecord& out);
    bool copy(const SessionName& name, SessionRecord& out);
    /// What a TLS server does with a name that a client offers: a single-use session is taken, a reusable one
    /// is copied (no more than kMaxUses times in TLS 1.3, counted from the full handshake); one that is
    /// expired is destroyed; one of another TLS version or for another site stays. True: `out` is to be
    /// resumed.
    bool resume(const SessionName& name, const Resumer& who, uint64_t now_ms, SessionRecord& out);
    [[nodiscard]] std::optional<SessionInfo> peek(const SessionName& name) const;
    [[nodiscard]] bool contains(const SessionName& name) const { return peek(name).has_value(); }
    /// nullopt: nobody can say, for a process holds its shard.
    [[nodiscard]] std::optional<bool> is_here(const SessionName& name) const;
    bool erase(const SessionName& name);
    /// Destroys what is here of those that are meant. What a server has of them in a handshake, and what
    /// comes out of it, is not stored any more, however long it takes.
    struct Purge {
        uint64_t purged = 0;
        uint32_t held = 0;  // shards that were not looked at, because a process holds them: not done yet
    };
    Purge purge(const std::function<bool(const SessionInfo&)>& meant);
    Purge purge(const SessionName& name);
    /// A number that every purge changes.
    [[nodiscard]] uint32_t purges() const;
    /// Early data of this session may be accepted: true once, wherever it goes. From then on the record says
    /// so.
    bool spend_early_data(const SessionName& name);
    /// A handshake was made with the session and it stays: one use more, and a new digest. False: it is gone,
    /// or was used otherwise since it had `uses_before`.
    bool advance(const SessionName& name, uint32_t uses_before, const SessionDigest& digest);

    /// The next batch of about `most` sessions; one shard is locked at a time, briefly.
    std::vector<SessionInfo> list(Cursor& cursor, Which which, size_t most) const;
    /// The same of those that were made or used last, as far as the journal goes back, but no more than some
    /// hundred of a shard: in each the latest ones first, each once.
    std::vector<SessionInfo> list_lately(Cursor& cursor, size_t most) const;
    /// What happened since the cursor was last used; all that is still known when it is new. A session that
    /// moves away, expires or makes room is no change: it is not gone, it is no longer here. The number of
    /// changes that were forgotten before they were read.
    struct Change {
        SessionName name{};
        bool gone = false;      // used up, or destroyed on purpose
        MoveReceipt receipt{};  // of one that is gone
    };
    using JournalCursor = std::vector<uint64_t>;  // by shard
    /// `held`: how many shards could not be looked at, because a process holds them.
    uint64_t changes(JournalCursor& cursor, std::vector<Change>& out, uint32_t* held = nullptr) const;
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

    [[nodiscard]] const StoreToken& token() const { return token_; }
    /// Whose memory it is: the agent's user.
    [[nodiscard]] uint32_t owner() const { return owner_; }
    /// Shards that cannot be used now: a process holds them and does not give them back. Looks at every lock.
    [[nodiscard]] uint32_t shards_held() const;

  private:
    friend class ShardGuard;
    friend class StoreMaker;
    Store() = default;
    void detach();
    [[nodiscard]] layout::ShardHeader& shard_header(uint32_t index) const;
    void hand_over(Store& to, Replaced& news);

    uint8_t* base_ = nullptr;
    uint64_t size_ = 0;
    StoreGeometry geometry_;
    StoreToken token_{};
    uint32_t owner_ = 0;
    int lock_fd_ = -1;  // agent only: the file, locked
    std::optional<Replaced> replaced_;
    uint32_t sweep_next_ = 0;
};

/// Current unix time in ms.
uint64_t wall_clock_ms();

}  // namespace keyrail
