// SPDX-License-Identifier: Apache-2.0
// One HTTP/1.x request (RFC 9112), read within bounds that hold before anything is stored: a client that
// sends more is refused, and costs no more memory than that. What the API needs and no more: a method, a
// path, a body whose length is said. (cpp-httplib 0.11 bounds neither a request line nor the number of header
// fields.) Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace keyrail {

class HttpRequest {
  public:
    static constexpr size_t kMaxHead = 8192;             // request line and header fields
    static constexpr size_t kMaxBody = size_t{1} << 20;  // a configuration of 4095 blades is half of that

    /// `reads_only`: GET and HEAD alone are allowed.
    explicit HttpRequest(bool reads_only) : reads_only_(reads_only) {}

    enum class State : uint8_t {
        more,     // of the request is to come
        whole,    // method(), path() and body() say what is asked
        refused,  // status() and why() say what to answer
    };
    /// The next bytes of the connection. What follows a whole request is not looked at.
    State take(std::string_view bytes);

    [[nodiscard]] const std::string& method() const { return method_; }
    [[nodiscard]] const std::string& path() const { return path_; }  // decoded (RFC 3986), without its query
    [[nodiscard]] const std::string& body() const { return body_; }
    [[nodiscard]] const std::string& query() const { return query_; }    // as it came, of a GET
    [[nodiscard]] const std::string& accept() const { return accept_; }  // all Accept fields
    /// What stands in If-Match (RFC 9110 section 13.1.1) without its quotes; "": nothing.
    [[nodiscard]] const std::string& if_match() const { return if_match_; }
    [[nodiscard]] int status() const { return status_; }
    [[nodiscard]] const std::string& why() const { return why_; }
    /// The client waits to be told that its body is wanted (RFC 9110 section 10.1.1); true once.
    [[nodiscard]] bool wants_continue();
    /// Bytes that are kept of it.
    [[nodiscard]] size_t size() const { return head_.size() + body_.size(); }

  private:
    [[nodiscard]] size_t max_body() const { return reads_only_ ? kMaxHead : kMaxBody; }
    State refuse(int status, std::string why);
    State read_head();
    State read_request_line(std::string_view line);
    State read_field(std::string_view line);
    State read_path(std::string_view target);

    bool reads_only_;
    bool in_body_ = false, expects_ = false, has_length_ = false;
    State state_ = State::more;
    std::string head_, method_, path_, query_, body_, if_match_, accept_, why_;
    size_t length_ = 0;
    int status_ = 0;
};

}  // namespace keyrail
