# SPDX-License-Identifier: Apache-2.0
"""A client that asks for one site, and for another one after a HelloRetryRequest. RFC 8446 section 4.1.2 forbids it;
OpenSSL's servers take it."""

import ctypes
import socket
from pathlib import Path
from types import SimpleNamespace

CONTROL_HOST_NAME, CONTROL_GROUPS = 55, 92  # SSL_ctrl()
HANDSHAKE, SERVER_HELLO, PEM = 22, 2, 1
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891")  # as a ServerHello's random (RFC 8446 section 4.1.3), its beginning
CURVES = {"nginx": "ssl_ecdh_curve prime256v1;", "haproxy": "curves P-256", "apache": "SSLOpenSSLConfCmd Curves P-256\n"}
MESSAGE = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_ubyte), ctypes.c_size_t,
                           ctypes.c_void_p, ctypes.c_void_p)


def _openssl() -> ctypes.CDLL:
    library = ctypes.CDLL("libssl.so.3")
    for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new", "BIO_new_mem_buf", "PEM_read_bio_SSL_SESSION"):
        getattr(library, name).restype = ctypes.c_void_p
    return library


def visit(port: int, session: Path | None, first: str, second: str, client: str = "") -> SimpleNamespace:
    """`client`: its certificate's file, without .crt. `retried`, `reused`, `answer` (empty: it did not get that far)."""
    openssl, pointer = _openssl(), ctypes.c_void_p
    context = pointer(openssl.SSL_CTX_new(pointer(openssl.TLS_client_method())))
    if client:
        assert openssl.SSL_CTX_use_certificate_file(context, f"{client}.crt".encode(), PEM) == 1
        assert openssl.SSL_CTX_use_PrivateKey_file(context, f"{client}.key".encode(), PEM) == 1
    ssl = pointer(openssl.SSL_new(context))
    seen = SimpleNamespace(retried=False, reused=False, answer="")

    def ask_for(name: str) -> None:
        assert openssl.SSL_ctrl(ssl, CONTROL_HOST_NAME, 0, name.encode()) == 1

    @MESSAGE
    def message(sent: int, _version: int, kind: int, data: "ctypes._Pointer[ctypes.c_ubyte]", size: int, *_: object) -> None:
        if not sent and kind == HANDSHAKE and size > 40 and data[0] == SERVER_HELLO and bytes(data[6:22]) == RETRY:
            seen.retried = True
            ask_for(second)

    openssl.SSL_set_msg_callback(ssl, message)
    openssl.SSL_ctrl(ssl, CONTROL_GROUPS, 0, b"X25519:P-256")  # a share of the first only: the servers want the second
    if session:
        text = session.read_bytes()
        offered = pointer(openssl.PEM_read_bio_SSL_SESSION(pointer(openssl.BIO_new_mem_buf(text, len(text))), None, None, None))
        assert openssl.SSL_set_session(ssl, offered) == 1
    ask_for(first)
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.settimeout(None)
        openssl.SSL_set_fd(ssl, connection.fileno())
        if openssl.SSL_connect(ssl) == 1:
            seen.reused = openssl.SSL_session_reused(ssl) == 1
            request = f"GET / HTTP/1.0\r\nHost: {second}\r\n\r\n".encode()
            openssl.SSL_write(ssl, request, len(request))
            answer, buffer = b"", ctypes.create_string_buffer(4096)
            while (size := openssl.SSL_read(ssl, buffer, len(buffer))) > 0:
                answer += buffer.raw[:size]
            seen.answer = next((line[line.index("site="):] for line in answer.decode().splitlines() if "site=" in line), "")
    openssl.SSL_free(ssl)
    openssl.SSL_CTX_free(context)
    return seen
