// SPDX-License-Identifier: Apache-2.0
#include "control/protocol/secret_buffer.h"

#include <openssl/crypto.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace keyrail {

void SecretBuffer::swap(SecretBuffer& other) noexcept {
    data_.swap(other.data_);
    std::swap(begin_, other.begin_);
    std::swap(end_, other.end_);
}

void SecretBuffer::relocate(size_t capacity) {
    std::vector<uint8_t> larger(capacity);
    std::ranges::copy(bytes(), larger.begin());
    const size_t used = size();
    clear();
    data_ = std::move(larger);
    begin_ = 0;
    end_ = used;
}

/// What is there is less than what was before it: so no byte is moved twice before as many have gone.
void SecretBuffer::move_to_front() {
    const size_t used = size();
    std::memmove(data_.data(), data_.data() + begin_, used);
    OPENSSL_cleanse(data_.data() + used, end_ - used);
    begin_ = 0;
    end_ = used;
}

std::span<uint8_t> SecretBuffer::room(size_t least) {
    if (data_.size() - end_ < least && size() <= begin_ && data_.size() - size() >= least) move_to_front();
    if (data_.size() - end_ < least) relocate(std::max({kKept, 2 * size(), size() + least}));
    return std::span(data_).subspan(end_);
}

void SecretBuffer::consume(size_t count) {
    OPENSSL_cleanse(data_.data() + begin_, count);
    begin_ += count;
    if (!empty()) return;
    begin_ = end_ = 0;
    if (data_.size() > kKept) data_ = {};
}

}  // namespace keyrail
