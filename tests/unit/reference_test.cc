// SPDX-License-Identifier: Apache-2.0
// The example and the reference of keyraild's configuration say what the parser does.
#include "control/daemon/config/reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "control/daemon/config/config.h"
#include "tests/support/temp_directory.h"

namespace keyrail {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST(ConfigReference, HasWordsForEveryKeyAndNoOthers) {
    const auto keys = config_reference();
    EXPECT_THAT(keys, SizeIs(::testing::Gt(40u)));
    for (const KeyReference& key : keys) {
        EXPECT_FALSE(key.type.empty()) << key.table << ' ' << key.key << ": the parser does not ask for it";
        EXPECT_FALSE(key.meaning.empty())
            << key.table << ' ' << key.key << ": nobody has written what it means";
        EXPECT_FALSE(key.since.empty()) << key.table << ' ' << key.key;
        EXPECT_EQ(key.required, key.otherwise.empty()) << key.table << ' ' << key.key << ": its default";
    }
}

TEST(ConfigReference, ReadmeNamesEveryKey) {
    std::ifstream in(KEYRAIL_SOURCE "/control/README.md");
    const std::string readme{std::istreambuf_iterator<char>(in), {}};
    for (const KeyReference& key : config_reference())
        EXPECT_THAT(readme, HasSubstr("`" + key.key + "`")) << key.table;
}

TEST(ConfigExample, IsGood) {
    const testing::TempDirectory directory;
    for (const char* file : {"ca.pem", "control.pem", "control.key"})
        std::ofstream(directory.path() / file) << "x";
    const auto config = read_config_text(kExampleConfig, directory.path() / "keyraild.toml");
    ASSERT_TRUE(config) << config.error()[0];
    EXPECT_EQ(config->blades.size(), 2u);
    EXPECT_EQ(config->services.at(0).routes.size(), 1u);
}

}  // namespace
}  // namespace keyrail
