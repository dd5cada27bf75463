// SPDX-License-Identifier: Apache-2.0
#include "control/protocol/secret_buffer.h"

#include <openssl/crypto.h>

#include <algorithm>
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

std::span<uint8_t> SecretBuffer::room(size_t least) {
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
