// SPDX-License-Identifier: Apache-2.0
// What proves to keyraild that its own order brought a session to a blade.
#include "control/daemon/keys/receipts.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_directory.h"

namespace keyrail {
namespace {

class ReceiptsTest : public ::testing::Test {
  protected:
    [[nodiscard]] Receipts load() const { return std::move(*Receipts::load_or_create(directory_.path())); }

    testing::TempDirectory directory_;
    static constexpr SessionName kSession{1, 2, 3};
    static constexpr uint64_t kOrder = 0x0123456789abcdef;
};

TEST_F(ReceiptsTest, CountForOneSessionAtOneBladeByOneOrder) {
    const Receipts receipts = load();
    const std::string receipt = receipts.make(kSession, 7, kOrder);
    ASSERT_EQ(receipt.size(), Receipts::kSize);
    EXPECT_EQ(receipts.order_in(receipt, kSession, 7), kOrder);
    EXPECT_FALSE(receipts.order_in(receipt, kSession, 8));
    EXPECT_FALSE(receipts.order_in(receipt, SessionName{1, 2, 4}, 7));
    for (size_t i = 0; i < receipt.size(); i++) {
        std::string other = receipt;
        other[i] = static_cast<char>(other[i] ^ 1);
        EXPECT_FALSE(receipts.order_in(other, kSession, 7)) << i;
    }
    EXPECT_FALSE(receipts.order_in("", kSession, 7));
    EXPECT_FALSE(receipts.order_in(receipt + "x", kSession, 7));
    EXPECT_FALSE(receipts.order_in(std::string(Receipts::kSize, '\0'), kSession, 7));
}

TEST_F(ReceiptsTest, CountAfterARestartAndNowhereElse) {
    const std::string receipt = load().make(kSession, 7, kOrder);
    EXPECT_EQ(load().order_in(receipt, kSession, 7), kOrder);
    const testing::TempDirectory other;
    EXPECT_FALSE(Receipts::load_or_create(other.path())->order_in(receipt, kSession, 7));
}

TEST_F(ReceiptsTest, ADamagedFileIsNotReplacedInSilence) {
    (void)load();
    std::ofstream(directory_.path() / "receipts.sealed") << "damaged";
    const auto damaged = Receipts::load_or_create(directory_.path());
    ASSERT_FALSE(damaged);
    EXPECT_NE(damaged.error().message.find("receipts.sealed"), std::string::npos);
}

}  // namespace
}  // namespace keyrail
