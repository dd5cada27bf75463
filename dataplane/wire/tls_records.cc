// SPDX-License-Identifier: Apache-2.0
#include "dataplane/wire/tls_records.h"

#include <algorithm>

namespace keyrail {
namespace {

constexpr size_t kRecordMax = 16384;

/// What byte `at` of the stream begins. Empty records pass, as with OpenSSL, though RFC 8446 section 5.1
/// forbids to send them.
struct Record {
    HelloStatus status = HelloStatus::complete;  // complete: the header makes sense
    size_t offset = 0;                           // of what does not, else of the content
    size_t declared = 0;                         // bytes of content
    Bytes present = {};                          // as much of it as is there
};

Record read_record(Bytes stream, size_t at) {
    const Bytes record = stream.subspan(at);
    if (!record.empty() && record[0] != kRecordHandshake) return {HelloStatus::not_tls, at};
    if (record.size() > 1 && record[1] != 3) return {HelloStatus::not_tls, at + 1};  // any version 3.x
    if (record.size() < kRecordHeader) return {HelloStatus::need_more, at};
    const size_t declared = load16(&record[3]);
    if (declared > kRecordMax) return {HelloStatus::malformed, at + 3};
    const Bytes content = record.subspan(kRecordHeader);
    return {HelloStatus::complete, at + kRecordHeader, declared,
            content.first(std::min(declared, content.size()))};
}

/// A message that grows by fragments: a view of the first one, a copy in `scratch` of several.
class Gathering {
  public:
    explicit Gathering(std::span<uint8_t> scratch) : scratch_(scratch) {}

    void add(Bytes fragment) {
        if (bytes_.empty()) {
            bytes_ = fragment;
            return;
        }
        const size_t n = std::min(fragment.size(), scratch_.size() - bytes_.size());
        if (bytes_.data() != scratch_.data()) std::ranges::copy(bytes_, scratch_.begin());
        std::ranges::copy(fragment.first(n), scratch_.begin() + static_cast<ptrdiff_t>(bytes_.size()));
        bytes_ = scratch_.first(bytes_.size() + n);
    }

    [[nodiscard]] Bytes bytes() const { return bytes_; }
    /// Of the whole message; as long as its header is not there, of that.
    [[nodiscard]] size_t size() const {
        return kMessageHeader + (bytes_.size() < kMessageHeader ? 0 : load24(&bytes_[1]));
    }
    /// Behind its header, as much of it as is there.
    [[nodiscard]] Bytes body() const {
        const size_t end = std::min(size(), bytes_.size()), start = std::min(end, kMessageHeader);
        return bytes_.subspan(start, end - start);
    }
    [[nodiscard]] bool complete() const { return bytes_.size() >= kMessageHeader && bytes_.size() >= size(); }

  private:
    std::span<uint8_t> scratch_;
    Bytes bytes_;
};

/// Where the message ends at the earliest, when the record with `gathered` of its bytes before it is
/// `record`: what this one does not bring comes in further records, each with a header.
size_t earliest_end(const Record& record, size_t gathered, size_t message_size) {
    const size_t missing = message_size - gathered;
    const size_t further = missing - std::min(missing, record.declared);
    return record.offset + missing + (further + kRecordMax - 1) / kRecordMax * kRecordHeader;
}

/// Nearly every hello lies in one record, within the limits, and is known by its first nine bytes (half of
/// what it takes to gather it), and so is how many of its bytes are yet to come. False: gather() says what it
/// is. Filled in where it lies: a copy would be read in larger pieces than it was just written in, for which
/// a CPU waits.
bool in_one_record(Bytes stream, size_t limit, HandshakeMessage& message) {
    const size_t end = end_in_one_record(stream, limit);
    if (end == 0) return false;
    message.status = end <= stream.size() ? HelloStatus::complete : HelloStatus::need_more;
    message.offset = static_cast<uint32_t>(end);
    message.records = 1;
    message.body = stream.subspan(kHelloHeaders, std::min(end, stream.size()) - kHelloHeaders);
    return true;
}

HandshakeMessage gather(Bytes stream, std::span<uint8_t> scratch, size_t limit, uint16_t records_limit) {
    Gathering message(scratch);
    uint16_t records = 0;
    const auto stop = [&](HelloStatus status, size_t offset) {
        return HandshakeMessage{status, static_cast<uint32_t>(offset), records, message.body()};
    };
    size_t at = 0, needed = kRecordHeader + kMessageHeader;
    while (records < records_limit) {
        const Record record = read_record(stream, at);
        if (record.status == HelloStatus::need_more) return stop(HelloStatus::need_more, needed);
        if (record.status != HelloStatus::complete) {
            // After a first good record this was TLS: a bad second one is malformed, not something else.
            return stop(message.bytes().empty() ? record.status : HelloStatus::malformed, record.offset);
        }
        records++;
        const size_t before = message.bytes().size();
        message.add(record.present);
        if (!message.bytes().empty() && message.bytes()[0] != kClientHello)
            return {HelloStatus::not_tls, static_cast<uint32_t>(record.offset), records, {}};
        needed = earliest_end(record, before, message.size());
        if (needed > limit) return stop(HelloStatus::too_long, record.offset);
        if (message.complete()) return stop(HelloStatus::complete, needed);
        at = record.offset + record.declared;
        if (at > stream.size()) return stop(HelloStatus::need_more, needed);
    }
    return stop(HelloStatus::too_long, at);
}

}  // namespace

size_t end_in_one_record(Bytes stream, size_t limit) {
    if (stream.size() < kHelloHeaders || stream[0] != kRecordHandshake || stream[1] != 3 ||
        stream[kRecordHeader] != kClientHello)
        return 0;
    const size_t declared = load16(&stream[3]), end = kHelloHeaders + load24(&stream[kRecordHeader + 1]);
    return declared > kRecordMax || end > kRecordHeader + declared || end > limit ? 0 : end;
}

HandshakeMessage first_message(Bytes stream, std::span<uint8_t> scratch, const HelloLimits& limits) {
    const size_t limit = std::min<size_t>(limits.bytes, scratch.size());
    HandshakeMessage message;
    if (limits.records == 0 || !in_one_record(stream, limit, message))
        message = gather(stream, scratch, limit, limits.records);
    return message;
}

uint32_t stream_offset(Bytes stream, size_t message_offset) {
    Record record = read_record(stream, 0);
    while (record.status == HelloStatus::complete && message_offset > record.present.size()) {
        message_offset -= record.present.size();
        record = read_record(stream, record.offset + record.declared);
    }
    return static_cast<uint32_t>(record.offset + message_offset);
}

}  // namespace keyrail
