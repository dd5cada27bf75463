// SPDX-License-Identifier: Apache-2.0
// Which socket a connection has, where the server keeps that from OpenSSL: HAProxy and Apache give it a BIO
// of their own. Nothing can happen in a handshake before the ClientHello is there: what a step of it reads
// first, it reads from the client's socket.
#pragma once

namespace keyrail::hooks {

/// As long as one lives, this thread's first read is noted in `socket`. nullptr: nothing is changed.
class SocketWatch {
  public:
    explicit SocketWatch(int* socket);
    ~SocketWatch();
    SocketWatch(const SocketWatch&) = delete;
    SocketWatch& operator=(const SocketWatch&) = delete;

    /// This thread is about to read from it (preload_reads.cc). Safe in a signal handler.
    static void reading(int socket);

  private:
    bool watches_;
};

}  // namespace keyrail::hooks
