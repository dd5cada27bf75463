// SPDX-License-Identifier: Apache-2.0
#include "control/daemon/api/http_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace keyrail {

namespace {

bool is_token(char byte) {  // RFC 9110 section 5.6.2
    return std::string_view("!#$%&'*+-.^_`|~").find(byte) != std::string_view::npos ||
           (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z');
}

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& byte : out)
        if (byte >= 'A' && byte <= 'Z') byte = static_cast<char>(byte + ('a' - 'A'));
    return out;
}

std::string_view trim(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

/// One line without its end, which is taken off `text`, too.
std::string_view next_line(std::string_view& text) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    return line;
}

}  // namespace

HttpRequest::State HttpRequest::refuse(int status, std::string why) {
    status_ = status;
    why_ = std::move(why);
    head_.clear();
    body_.clear();
    return state_ = State::refused;
}

HttpRequest::State HttpRequest::take(std::string_view bytes) {
    if (state_ != State::more) return state_;
    if (!in_body_) {
        const size_t before = head_.size(), room = kMaxHead - before;
        head_.append(bytes.substr(0, room));
        // The request line first: what it asks for may be refused before anything else is read.
        if (method_.empty() && head_.find('\n') != std::string::npos) {
            std::string_view line = head_;
            if (read_request_line(next_line(line)) == State::refused) return state_;
        }
        size_t end = head_.find("\n\r\n"), past = end + 3;
        if (const size_t bare = head_.find("\n\n"); bare < end) {
            end = bare;
            past = bare + 2;
        }
        if (end == std::string::npos)
            return bytes.size() >= room ? refuse(431, "request line and header fields are over 8192 bytes")
                                        : State::more;
        head_.resize(past);
        if (read_head() == State::refused) return state_;
        in_body_ = true;
        bytes.remove_prefix(past - before);
    }
    body_.append(bytes.substr(0, length_ - body_.size()));
    return state_ = body_.size() == length_ ? State::whole : State::more;
}

bool HttpRequest::wants_continue() {
    return state_ == State::more && in_body_ && body_.empty() && std::exchange(expects_, false);
}

HttpRequest::State HttpRequest::read_head() {
    std::string_view text = head_;
    next_line(text);  // the request line, which was read before
    for (std::string_view line = next_line(text); !line.empty(); line = next_line(text))
        if (read_field(line) == State::refused) return state_;
    return state_;
}

HttpRequest::State HttpRequest::read_request_line(std::string_view line) {
    const size_t first = line.find(' '), last = line.rfind(' ');
    if (first == std::string_view::npos || first == 0 || last == first ||
        !line.substr(last + 1).starts_with("HTTP/1.") ||
        !std::ranges::all_of(line.substr(0, first), is_token))
        return refuse(400, "this is not an HTTP/1 request");
    method_ = line.substr(0, first);
    if (method_ != "GET" && method_ != "HEAD" && (reads_only_ || method_ != "POST"))
        return refuse(405, reads_only_ ? "only GET is possible here" : "only GET and POST are possible here");
    return read_path(line.substr(first + 1, last - first - 1));
}

HttpRequest::State HttpRequest::read_path(std::string_view target) {
    const size_t query = target.find('?');
    if (query != std::string_view::npos && method_ == "POST")
        return refuse(400, "a POST takes no query: what it is about stands in its path and body");
    const std::string_view path = target.substr(0, query);
    if (query != std::string_view::npos) query_ = target.substr(query + 1);
    if (!path.starts_with('/')) return refuse(400, "the request's target is not a path");
    for (size_t i = 0; i < path.size(); i++) {
        uint8_t byte = static_cast<uint8_t>(path[i]);
        if (byte == '%') {
            const std::string_view code = path.substr(i + 1, 2);
            const auto read = std::from_chars(code.data(), code.data() + code.size(), byte, 16);
            if (code.size() != 2 || read.ptr != code.data() + 2)
                return refuse(400, "a path with a bad %-code");
            i += 2;
            // A path's words are its own before they are decoded (RFC 3986 section 2.2).
            if (byte == '/') return refuse(400, "a path with an encoded slash");
        }
        if (byte <= 0x20 || byte == 0x7f) return refuse(400, "a path with control characters");
        path_ += static_cast<char>(byte);
    }
    return state_;
}

HttpRequest::State HttpRequest::read_field(std::string_view line) {
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon == 0 ||
        !std::ranges::all_of(line.substr(0, colon), is_token))
        return refuse(400, "a header field that is none");
    const std::string name = lower(line.substr(0, colon));
    const std::string_view value = trim(line.substr(colon + 1));
    if (name == "accept") accept_.append(accept_.empty() ? "" : ",").append(value);
    if (name == "transfer-encoding") return refuse(411, "say the body's length: Content-Length");
    if (name == "if-match")
        if_match_ = value.size() >= 2 && value.front() == '"' && value.back() == '"'
                        ? value.substr(1, value.size() - 2)
                        : value;
    if (name == "expect") expects_ = lower(value) == "100-continue";
    if (name != "content-length") return state_;
    size_t length = 0;
    const auto read = std::from_chars(value.data(), value.data() + value.size(), length);
    if (value.empty() || read.ptr != value.data() + value.size() || (has_length_ && length != length_))
        return refuse(400, "Content-Length is not a number");
    if (read.ec != std::errc() || length > max_body())
        return refuse(413, fmt::format("the body is over {} bytes", max_body()));
    has_length_ = true;
    length_ = length;
    return state_;
}

}  // namespace keyrail
