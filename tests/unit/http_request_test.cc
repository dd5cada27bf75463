// SPDX-License-Identifier: Apache-2.0
// What of HTTP is read, what is refused, and that neither takes more memory than is said.
#include "control/daemon/api/http_request.h"

#include <gtest/gtest.h>

namespace keyrail {
namespace {

using State = HttpRequest::State;

HttpRequest read(const std::string& text, bool reads_only = false, size_t step = SIZE_MAX) {
    HttpRequest request(reads_only);
    for (size_t at = 0; at < text.size(); at += std::min(step, text.size() - at))
        if (request.take(std::string_view(text).substr(at, step)) != State::more) break;
    return request;
}

TEST(HttpRequest, IsTheSameHoweverItIsCut) {
    const std::string text =
        "POST /v1/blades/2%30/drain HTTP/1.1\r\nHost: x\r\ncontent-LENGTH: 12 \r\n\r\n{\"rate\": 20}and more";
    for (size_t step = 1; step <= text.size(); step++) {
        HttpRequest request = read(text, false, step);
        ASSERT_EQ(request.take(""), State::whole) << step << ": " << request.why();
        EXPECT_EQ(request.method(), "POST");
        EXPECT_EQ(request.path(), "/v1/blades/20/drain");
        EXPECT_EQ(request.body(), "{\"rate\": 20}");
    }
}

TEST(HttpRequest, OldClientsAndQueries) {
    EXPECT_EQ(read("GET /metrics HTTP/1.0\n\n").path(), "/metrics");
    EXPECT_EQ(read("GET /metrics?x=/y HTTP/1.1\r\n\r\n").path(), "/metrics");
    EXPECT_EQ(read("HEAD / HTTP/1.1\r\n\r\n", true).method(), "HEAD");
}

TEST(HttpRequest, SaysWhichRevisionIsMeant) {
    EXPECT_EQ(read("GET / HTTP/1.1\r\nIf-Match: \"12\"\r\n\r\n").if_match(), "12");
    EXPECT_EQ(read("GET / HTTP/1.1\r\nif-match: 12\r\n\r\n").if_match(), "12");
    EXPECT_EQ(read("GET / HTTP/1.1\r\n\r\n").if_match(), "");
}

TEST(HttpRequest, KeepsTheQueryOfAGet) {
    EXPECT_EQ(read("GET /v1/events?since=7 HTTP/1.1\r\n\r\n").query(), "since=7");
}

TEST(HttpRequest, SaysWhoFollows) {
    EXPECT_FALSE(read("GET /v1/events HTTP/1.1\r\nAccept: application/json\r\n\r\n").follows());
    const HttpRequest request =
        read("GET /v1/events HTTP/1.1\r\naccept: Text/Event-Stream\r\nLast-Event-ID: 12\r\n\r\n");
    EXPECT_TRUE(request.follows());
    EXPECT_EQ(request.last_event(), "12");
}

TEST(HttpRequest, SeesWhatAPageOfAnotherSiteSends) {
    const auto post = [](const std::string& fields) {
        return read("POST /v1/blades/2/drain HTTP/1.1\r\nHost: a:8443\r\n" + fields + "\r\n")
            .of_another_site();
    };
    EXPECT_EQ(post(""), "") << "a command line sends neither";
    EXPECT_EQ(post("Origin: https://a:8443\r\nSec-Fetch-Site: same-origin\r\n"), "");
    EXPECT_EQ(post("Sec-Fetch-Site: none\r\n"), "");
    EXPECT_NE(post("Sec-Fetch-Site: cross-site\r\n"), "");
    EXPECT_NE(post("Sec-Fetch-Site: same-site\r\n"), "")
        << "another port of the same machine is another site";
    EXPECT_NE(post("Origin: https://a\r\n"), "");
    EXPECT_NE(post("Origin: null\r\n"), "");
    EXPECT_EQ(read("GET / HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\n\r\n").of_another_site(), "")
        << "a link to the page is good; answers are not shown to other sites";
}

TEST(HttpRequest, SeesANameThatSomebodyElseMayHaveGivenUs) {
    const auto named = [](const std::string& host) {
        return read("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n").names_another_host();
    };
    for (const char* ours : {"localhost", "localhost:8080", "127.0.0.1:7480", "10.0.0.1", "[::1]:80",
                             "keyraild", "/run/keyrail/keyraild.sock", ""})
        EXPECT_FALSE(named(ours)) << ours;
    for (const char* other :
         {"evil.example", "evil.example:8080", "1.2.3.4.nip.io", "localhost.evil.example:80"})
        EXPECT_TRUE(named(other)) << other;
}

TEST(HttpRequest, SaysOnceThatABodyIsWanted) {
    HttpRequest request(false);
    request.take("POST / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n");
    EXPECT_TRUE(request.wants_continue());
    EXPECT_FALSE(request.wants_continue());
    EXPECT_EQ(request.take("x"), State::whole);
}

struct Bad {
    const char* name;
    std::string text;
    int status;
    bool reads_only = false;
};

class HttpRequestRefuses : public testing::TestWithParam<Bad> {};

TEST_P(HttpRequestRefuses, WithAStatus) {
    for (const size_t step : {SIZE_MAX, size_t{1000}, size_t{7}}) {
        HttpRequest request = read(GetParam().text, GetParam().reads_only, step);
        EXPECT_EQ(request.take(""), State::refused);
        EXPECT_EQ(request.status(), GetParam().status) << request.why();
        EXPECT_FALSE(request.why().empty());
        EXPECT_EQ(request.size(), 0u) << "nothing of it is kept";
    }
}

std::string get(const std::string& fields) { return "GET / HTTP/1.1\r\n" + fields + "\r\n"; }

INSTANTIATE_TEST_SUITE_P(
    Requests, HttpRequestRefuses,
    testing::Values(
        Bad{"a_line_without_end", "GET /" + std::string(100'000, 'a'), 431},
        Bad{"a_field_without_end", "GET / HTTP/1.1\r\nx: " + std::string(100'000, 'a'), 431},
        Bad{"many_fields",
            [] {
                std::string fields;
                for (int i = 0; i < 1000; i++) fields += "x-" + std::to_string(i) + ": y\r\n";
                return get(fields);
            }(),
            431},
        Bad{"post_where_only_reading_is_allowed", "POST /metrics HTTP/1.1\r\n", 405, true},
        Bad{"other_methods", "DELETE /v1/blades/1 HTTP/1.1\r\n", 405},
        Bad{"chunks", get("Transfer-Encoding: chunked\r\n"), 411},
        Bad{"long_body", "POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", 413},
        Bad{"endless_number", "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413},
        Bad{"negative", "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400},
        Bad{"no_number", "POST / HTTP/1.1\r\nContent-Length: \r\n\r\n", 400},
        Bad{"two_lengths", "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
        Bad{"query_of_a_post", "POST /v1/blades/3/revoke?x=/drain HTTP/1.1\r\n", 400},
        Bad{"long_body_of_a_reader", "GET / HTTP/1.1\r\nContent-Length: 8193\r\n\r\n", 413, true},
        Bad{"encoded_slash", "GET /v1/blades/3%2frevoke HTTP/1.1\r\n", 400},
        Bad{"no_path", "GET http://x/ HTTP/1.1\r\n", 400}, Bad{"bad_code", "GET /%4 HTTP/1.1\r\n", 400},
        Bad{"control_character", "GET /%0a HTTP/1.1\r\n", 400}, Bad{"nul", "GET /%00 HTTP/1.1\r\n", 400},
        Bad{"not_http", "\x16\x03\x01 hello\r\n", 400}, Bad{"http2", "PRI * HTTP/2.0\r\n\r\n", 400},
        Bad{"no_field", get("nonsense\r\n"), 400}, Bad{"blank_in_a_name", get("a b: c\r\n"), 400}),
    [](const auto& one) { return one.param.name; });

}  // namespace
}  // namespace keyrail
