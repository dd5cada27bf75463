// SPDX-License-Identifier: Apache-2.0
// Metrics as text, in both formats.
#include "control/daemon/api/exposition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace keyrail {
namespace {

TEST(Exposition, AFormatIsWantedByTheAcceptField) {
    struct Case {
        const char* accept;
        MetricsFormat format;
    };
    constexpr auto kPlain = MetricsFormat::prometheus, kOpen = MetricsFormat::openmetrics;
    for (const auto& [accept, format] : {
             Case{"", kPlain},
             {"*/*", kPlain},
             {"text/plain", kPlain},
             {"application/openmetrics-text", kOpen},
             {"application/openmetrics-text; version=1.0.0; charset=utf-8", kOpen},
             {"application/openmetrics-text;version=0.0.1", kPlain},
             {"Application/OpenMetrics-Text;Version=1.0.0;q=0.5,*/*;q=0.1", kOpen},
             {"application/openmetrics-text;version=1.0.0;q=0.2,text/plain;q=0.5", kPlain},
             {"application/openmetrics-text;q=0", kPlain},
             // Prometheus 2.42 and 3.
             {"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
              "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
              kOpen},
             {"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
              "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-"
              "8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
              kOpen},
             {";;;,=,q=,;q=x", kPlain},
         })
        EXPECT_EQ(wanted_format(accept), format) << accept;
}

std::string written(MetricsFormat format) {
    Exposition out(format);
    out.counter("moves_total", "Moves \\ of \"sessions\"");
    out.sample(3, {{"result", "a\"b\\c\nd"}});
    out.sample(nlohmann::json(), {{"result", "not known"}});
    out.info("build_info", "What runs");
    out.sample(1, {{"version", "1"}});
    out.gauge("up", "1: it is");
    out.sample(true);
    out.histogram("took_seconds", "How long");
    out.histogram_samples({{{"le_us", 32}, {"count", 1}}, {{"le_us", 1000000}, {"count", 2}}}, 5000000, 3,
                          {{"of", "x"}});
    return std::move(out).text();
}

TEST(Exposition, PrometheusOwnFormat) {
    EXPECT_EQ(written(MetricsFormat::prometheus), R"(# HELP keyrail_moves_total Moves \\ of "sessions"
# TYPE keyrail_moves_total counter
keyrail_moves_total{result="a\"b\\c\nd"} 3
# HELP keyrail_build_info What runs
# TYPE keyrail_build_info gauge
keyrail_build_info{version="1"} 1
# HELP keyrail_up 1: it is
# TYPE keyrail_up gauge
keyrail_up 1
# HELP keyrail_took_seconds How long
# TYPE keyrail_took_seconds histogram
keyrail_took_seconds_bucket{of="x",le="3.2e-05"} 1
keyrail_took_seconds_bucket{of="x",le="1.0"} 2
keyrail_took_seconds_bucket{of="x",le="+Inf"} 3
keyrail_took_seconds_sum{of="x"} 5.0
keyrail_took_seconds_count{of="x"} 3
)");
}

/// Families have no endings, quotes in help are escaped, and the end is said.
TEST(Exposition, OpenMetrics) {
    const std::string text = written(MetricsFormat::openmetrics);
    for (const char* line : {"# HELP keyrail_moves Moves \\\\ of \\\"sessions\\\"\n# TYPE keyrail_moves "
                             "counter\nkeyrail_moves_total{",
                             "# TYPE keyrail_build info\nkeyrail_build_info{version=\"1\"} 1\n",
                             "# TYPE keyrail_took_seconds histogram\n"})
        EXPECT_THAT(text, ::testing::HasSubstr(line));
    EXPECT_TRUE(text.ends_with("_count{of=\"x\"} 3\n# EOF\n"));
}

}  // namespace
}  // namespace keyrail
