// SPDX-License-Identifier: Apache-2.0
// asio's own code, compiled once for all (ASIO_SEPARATE_COMPILATION): every file that uses asio builds a
// fifth faster.
#include <asio/impl/src.hpp>
#include <asio/ssl/impl/src.hpp>
