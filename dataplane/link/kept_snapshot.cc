// SPDX-License-Identifier: Apache-2.0
#include "dataplane/link/kept_snapshot.h"

#include <atomic>
#include <climits>
#include <system_error>
#include <utility>

#include "dataplane/flow/kept_file.h"
#include "link.pb.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace keyrail {
namespace {

constexpr uint64_t kMagic = 0x70616e73'6b79656b;  // "keyksnap"
constexpr uint64_t kLayout =
    1;  // of the header; the message itself may have fields that another version does not know

/// At the beginning of the file; the message is at kMessageAt.
struct Header {
    KeptHeader kept;
    uint64_t size, checksum;  // of the message
};
constexpr size_t kMessageAt = 128;
static_assert(sizeof(Header) <= kMessageAt);

}  // namespace

KeptSnapshot::KeptSnapshot(std::filesystem::path directory, std::string boot)
    : directory_(std::move(directory)), boot_(std::move(boot)) {}

Result<void> KeptSnapshot::keep(const link::Snapshot& message) {
    const std::filesystem::path fresh = directory_ / "snapshot.new";
    const size_t size = message.ByteSizeLong();
    if (size > INT_MAX) return fail("a snapshot of {} bytes", size);
    auto file = KeptFile::open(fresh, kMessageAt + size);
    if (!file) return tl::make_unexpected(file.error());
    Header& h = *reinterpret_cast<Header*>(file->at());
    h.kept.whole = 0;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    message.SerializeToArray(file->at() + kMessageAt, static_cast<int>(size));
    h.kept.fill(kMagic, kLayout, boot_);
    h.size = size;
    h.checksum = XXH3_64bits(file->at() + kMessageAt, size);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    h.kept.whole = 1;
    std::error_code error;
    std::filesystem::rename(fresh, directory_ / "snapshot", error);
    if (error) return fail("{}: {}", fresh.string(), error.message());
    last_ = std::move(*file);  // mapped, so it stays in memory (mlockall): a tmpfs may be swapped
    last_.unlock();
    return {};
}

Result<void> KeptSnapshot::read(link::Snapshot& message) const {
    const auto file = KeptFile::existing(directory_ / "snapshot");
    if (!file) return tl::make_unexpected(file.error());
    if (file->size() < kMessageAt) return fail("there is none");
    const Header& h = *reinterpret_cast<const Header*>(file->at());
    if (const std::string why = h.kept.misfit(kMagic, kLayout, boot_); !why.empty()) return fail("{}", why);
    if (h.size > INT_MAX || h.size > file->size() - kMessageAt) return fail("it is damaged: its size");
    const uint8_t* bytes = file->at() + kMessageAt;
    if (XXH3_64bits(bytes, h.size) != h.checksum) return fail("it is damaged: its checksum");
    if (!message.ParseFromArray(bytes, static_cast<int>(h.size)))
        return fail("it is damaged: it is no snapshot");
    return {};
}

}  // namespace keyrail
