// SPDX-License-Identifier: Apache-2.0
// How busy the blade's processors are.
#pragma once

#include <cstdint>
#include <string>

namespace keyrail {

class LoadMeter {
  public:
    /// `file`: where the kernel counts (tests give another place).
    explicit LoadMeter(std::string file = "/proc/stat") : file_(std::move(file)) { measure(); }
    /// Since the measurement before: 0 = idle, or busy only with what gives way (nice); 65535 = all
    /// processors busy.
    uint32_t measure();
    [[nodiscard]] uint32_t current() const { return last_; }

  private:
    std::string file_;
    uint64_t busy_ = 0, all_ = 0;
    uint32_t last_ = 0;
};

}  // namespace keyrail
