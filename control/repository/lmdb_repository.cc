// SPDX-License-Identifier: Apache-2.0
// Two tables: name -> expiry (8 bytes, big-endian) | sealed, and expiry | name -> nothing, in order of
// expiry.
#include "control/repository/lmdb_repository.h"

#include <lmdb.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "control/protocol/file.h"

namespace keyrail {

namespace fs = std::filesystem;

namespace {

constexpr size_t kExpirySize = 8;
constexpr int kEvictedAtOnce = 64;

using ExpiryKey = std::array<uint8_t, kExpirySize + kSessionNameSize>;

MDB_val view(const void* data, size_t size) { return {size, const_cast<void*>(data)}; }
MDB_val view(const SessionName& name) { return view(name.data(), name.size()); }

ExpiryKey expiry_key(uint64_t expires_ms, const SessionName& name) {
    ExpiryKey key;
    for (size_t i = 0; i < kExpirySize; i++)
        key[i] = static_cast<uint8_t>(expires_ms >> 8 * (kExpirySize - 1 - i));
    std::ranges::copy(name, key.begin() + kExpirySize);
    return key;
}

uint64_t expiry_in(const void* bytes) {
    uint64_t expires_ms = 0;
    for (size_t i = 0; i < kExpirySize; i++)
        expires_ms = expires_ms << 8 | static_cast<const uint8_t*>(bytes)[i];
    return expires_ms;
}

/// A write transaction; what is not committed is undone.
struct Transaction {
    explicit Transaction(MDB_env* env) { status = mdb_txn_begin(env, nullptr, 0, &txn); }
    ~Transaction() {
        if (txn != nullptr) mdb_txn_abort(txn);
    }
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;
    int commit() { return mdb_txn_commit(std::exchange(txn, nullptr)); }

    MDB_txn* txn = nullptr;
    int status;
};

class LmdbRepository final : public Repository {
  public:
    LmdbRepository(MDB_env* env, LmdbOptions options) : env_(env), options_(std::move(options)) {}
    ~LmdbRepository() override;

    Result<void> open();
    Result<void> apply(std::span<const RepositoryChange> changes) override;
    Result<std::optional<std::string>> take(const SessionName& name, uint64_t now_ms) override;
    Result<void> sweep(uint64_t now_ms) override;
    Result<void> clear() override;
    Result<void> remove_if(const Which& which) override;

  private:
    int remove(MDB_txn* txn, const SessionName& name, std::optional<std::string>* removed, uint64_t now_ms);
    int make(MDB_txn* txn, const RepositoryChange& change);
    int apply_once(std::span<const RepositoryChange> changes);
    int evict(uint64_t until_ms, int most);
    int find(const Which& which, std::optional<SessionName>& after, std::vector<SessionName>& found);
    [[nodiscard]] bool crowded() const;
    [[nodiscard]] tl::unexpected<Error> failed(int status) const {
        return fail("{}: {}", options_.directory.string(), mdb_strerror(status));
    }

    MDB_env* env_;
    LmdbOptions options_;
    MDB_dbi sessions_ = 0, expiries_ = 0;
};

LmdbRepository::~LmdbRepository() {
    const bool synced = mdb_env_sync(env_, 1) == 0;
    mdb_env_close(env_);
    std::error_code ignored;
    if (synced) fs::remove(options_.directory / "open-in-boot", ignored);
}

Result<void> LmdbRepository::open() {
    int status = mdb_env_set_maxdbs(env_, 2);
    if (status == 0) status = mdb_env_set_mapsize(env_, options_.size_bytes);
    if (status == 0)
        status = mdb_env_open(env_, options_.directory.c_str(), MDB_NOSYNC | MDB_NOTLS | MDB_NORDAHEAD, 0600);
    if (status != 0) return failed(status);
    Transaction transaction(env_);
    status = transaction.status;
    if (status == 0) status = mdb_dbi_open(transaction.txn, "sessions", MDB_CREATE, &sessions_);
    if (status == 0) status = mdb_dbi_open(transaction.txn, "expiries", MDB_CREATE, &expiries_);
    if (status == 0) status = transaction.commit();
    if (status != 0) return failed(status);
    return {};
}

/// `removed` is what was there, unless it had expired by `now_ms`.
int LmdbRepository::remove(MDB_txn* txn, const SessionName& name, std::optional<std::string>* removed,
                           uint64_t now_ms) {
    MDB_val key = view(name), value{};
    int status = mdb_get(txn, sessions_, &key, &value);
    if (status == MDB_NOTFOUND) return 0;
    if (status != 0) return status;
    if (value.mv_size < kExpirySize) return MDB_CORRUPTED;
    const uint64_t expires_ms = expiry_in(value.mv_data);
    if (removed && expires_ms > now_ms)
        removed->emplace(static_cast<const char*>(value.mv_data) + kExpirySize, value.mv_size - kExpirySize);
    const ExpiryKey expiry = expiry_key(expires_ms, name);
    MDB_val expiry_view = view(expiry.data(), expiry.size());
    status = mdb_del(txn, expiries_, &expiry_view, nullptr);
    return status == 0 || status == MDB_NOTFOUND ? mdb_del(txn, sessions_, &key, nullptr) : status;
}

int LmdbRepository::make(MDB_txn* txn, const RepositoryChange& change) {
    int status = remove(txn, change.name, nullptr, 0);
    if (status != 0 || change.sealed.empty()) return status;
    const ExpiryKey expiry = expiry_key(change.expires_ms, change.name);
    MDB_val key = view(change.name), value = view(nullptr, kExpirySize + change.sealed.size());
    status = mdb_put(txn, sessions_, &key, &value, MDB_RESERVE);
    if (status != 0) return status;
    std::memcpy(value.mv_data, expiry.data(), kExpirySize);
    std::memcpy(static_cast<char*>(value.mv_data) + kExpirySize, change.sealed.data(), change.sealed.size());
    MDB_val expiry_view = view(expiry.data(), expiry.size()), nothing = view("", 0);
    return mdb_put(txn, expiries_, &expiry_view, &nothing, 0);
}

int LmdbRepository::apply_once(std::span<const RepositoryChange> changes) {
    Transaction transaction(env_);
    int status = transaction.status;
    for (const RepositoryChange& change : changes)
        if (status == 0) status = make(transaction.txn, change);
    return status == 0 ? transaction.commit() : status;
}

/// Removes what expires first: at most `most` sessions that expire by `until_ms`. MDB_NOTFOUND: there is
/// none.
int LmdbRepository::evict(uint64_t until_ms, int most) {
    Transaction transaction(env_);
    int status = transaction.status, evicted = 0;
    for (; status == 0 && evicted < most; evicted++) {
        MDB_cursor* cursor = nullptr;
        MDB_val expiry{}, nothing{};
        if (status = mdb_cursor_open(transaction.txn, expiries_, &cursor); status != 0) break;
        status = mdb_cursor_get(cursor, &expiry, &nothing, MDB_FIRST);
        mdb_cursor_close(cursor);
        if (status != 0 || expiry_in(expiry.mv_data) > until_ms) break;
        SessionName name;
        std::memcpy(name.data(), static_cast<const uint8_t*>(expiry.mv_data) + kExpirySize, name.size());
        status = remove(transaction.txn, name, nullptr, 0);
    }
    if (status != 0 && status != MDB_NOTFOUND) return status;
    status = transaction.commit();
    return status == 0 && evicted == 0 ? MDB_NOTFOUND : status;
}

/// LMDB needs pages to free pages: room must be made while there is some.
bool LmdbRepository::crowded() const {
    MDB_txn* txn = nullptr;
    if (mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn) != 0) return false;
    uint64_t bytes = 0;
    for (const MDB_dbi table : {sessions_, expiries_}) {
        MDB_stat stat{};
        if (mdb_stat(txn, table, &stat) != 0) continue;
        bytes +=
            uint64_t{stat.ms_psize} * (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages);
    }
    mdb_txn_abort(txn);
    return bytes > options_.size_bytes / 2;
}

Result<void> LmdbRepository::apply(std::span<const RepositoryChange> changes) {
    while (crowded() && evict(UINT64_MAX, kEvictedAtOnce) == 0) continue;
    int status = apply_once(changes);
    while (status == MDB_MAP_FULL && evict(UINT64_MAX, kEvictedAtOnce) == 0) status = apply_once(changes);
    if (status != 0) return failed(status);
    return {};
}

Result<std::optional<std::string>> LmdbRepository::take(const SessionName& name, uint64_t now_ms) {
    std::optional<std::string> sealed;
    Transaction transaction(env_);
    int status = transaction.status;
    if (status == 0) status = remove(transaction.txn, name, &sealed, now_ms);
    if (status == 0) status = transaction.commit();
    if (status != 0) return failed(status);
    return sealed;
}

Result<void> LmdbRepository::sweep(uint64_t now_ms) {
    int status = 0;
    while (status == 0) status = evict(now_ms, kEvictedAtOnce);
    if (status != MDB_NOTFOUND) return failed(status);
    return {};
}

Result<void> LmdbRepository::clear() {
    Transaction transaction(env_);
    int status = transaction.status;
    if (status == 0) status = mdb_drop(transaction.txn, sessions_, 0);
    if (status == 0) status = mdb_drop(transaction.txn, expiries_, 0);
    if (status == 0) status = transaction.commit();
    if (status != 0) return failed(status);
    return {};
}

/// The next ones after a name, of some. MDB_NOTFOUND: there are no more.
int LmdbRepository::find(const Which& which, std::optional<SessionName>& after,
                         std::vector<SessionName>& found) {
    constexpr int kLookedAtOnce = 1000;
    Transaction transaction(env_);
    MDB_cursor* cursor = nullptr;
    int status = transaction.status;
    if (status == 0) status = mdb_cursor_open(transaction.txn, sessions_, &cursor);
    if (status != 0) return status;
    MDB_val key{}, value{};
    if (after) key = view(*after);
    status = mdb_cursor_get(cursor, &key, &value, after ? MDB_SET_RANGE : MDB_FIRST);
    for (int i = 0; status == 0 && i < kLookedAtOnce; i++) {
        SessionName name{};
        if (key.mv_size != name.size() || value.mv_size < kExpirySize) {
            status = MDB_CORRUPTED;
            break;
        }
        std::memcpy(name.data(), key.mv_data, name.size());
        const char* const sealed = static_cast<const char*>(value.mv_data) + kExpirySize;
        if (name != after && which({sealed, value.mv_size - kExpirySize})) found.push_back(name);
        after = name;
        status = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return status;
}

Result<void> LmdbRepository::remove_if(const Which& which) {
    std::optional<SessionName> after;
    for (int status = 0; status == 0;) {
        std::vector<SessionName> found;
        status = find(which, after, found);
        if (status != 0 && status != MDB_NOTFOUND) return failed(status);
        Transaction transaction(env_);
        int removed = transaction.status;
        for (const SessionName& name : found)
            if (removed == 0) removed = remove(transaction.txn, name, nullptr, 0);
        if (removed == 0) removed = transaction.commit();
        if (removed != 0) return failed(removed);
    }
    return {};
}

/// An environment that was open when the machine went down may be damaged: it goes. Says which boot is now.
Result<void> mark_open(const LmdbOptions& options) {
    constexpr size_t kMaxBootId = 64;
    const fs::path mark = options.directory / "open-in-boot";
    auto now = read_file(options.boot_id, kMaxBootId);
    if (!now) return tl::make_unexpected(now.error());
    std::error_code error;
    if (fs::exists(mark, error)) {
        const auto then = read_file(mark, kMaxBootId);
        if (!then || *then != *now)
            for (const char* file : {"data.mdb", "lock.mdb"}) fs::remove(options.directory / file, error);
    }
    return replace_file(mark, *now, 0600);
}

}  // namespace

Result<std::unique_ptr<Repository>> open_lmdb_repository(const LmdbOptions& options) {
    if (auto made = make_directory(options.directory, 0700); !made) return tl::make_unexpected(made.error());
    if (auto marked = mark_open(options); !marked) return tl::make_unexpected(marked.error());
    MDB_env* env = nullptr;
    if (const int status = mdb_env_create(&env); status != 0) return fail("LMDB: {}", mdb_strerror(status));
    auto repository = std::make_unique<LmdbRepository>(env, options);
    if (auto opened = repository->open(); !opened) return tl::make_unexpected(opened.error());
    return repository;
}

}  // namespace keyrail
