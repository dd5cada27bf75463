# SPDX-License-Identifier: Apache-2.0
"""TLS connections that last, and a backend that takes its time.

    patient.py serve PORT SECONDS SIZE       HTTP on 127.0.0.1: answers with SIZE bytes after SECONDS; says "ready" first
    patient.py half CA ADDRESS PORT SERVER_NAME VERSION LOCAL_PORT SECONDS
        asks for /slow, says FIN, waits so long for more; prints how many bytes came until the server's FIN
    patient.py idle CA ADDRESS PORT SERVER_NAME VERSION LOCAL_PORT SECONDS
        asks, says "ready", is silent for so long, and asks again; prints "alive" if the same blade answers
    patient.py vanish CA ADDRESS PORT SERVER_NAME VERSION LOCAL_PORT
        asks, and is gone without a word; prints the blade
    patient.py elsewhere CA ADDRESS PORT SERVER_NAME VERSION LOCAL_PORT SECONDS BLADE
        the same as idle, at another blade than this one
Clients resume a session that they have from a connection before: only so are they where no hash would send them.
"""

import os
import socket
import ssl
import sys
import threading
import time

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def serve(port: str, seconds: str, size: str) -> None:
    def answer(client: socket.socket) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            more = client.recv(65536)
            if not more:
                return
            asked += more
        time.sleep(float(seconds))
        client.sendall(f"HTTP/1.0 200 OK\r\nContent-Length: {size}\r\n\r\n".encode() + bytes(int(size)))
        client.close()

    listener = socket.create_server(("127.0.0.1", int(port)))
    print("ready", flush=True)
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()


class Client:
    def __init__(self, ca: str, address: str, port: str, name: str, version: str):
        self.where, self.name = (address, int(port)), name
        self.context = ssl.create_default_context(cafile=ca)
        self.context.minimum_version = self.context.maximum_version = VERSIONS[version]

    def connect(self, local: int, session: ssl.SSLSession | None, patience: float) -> ssl.SSLSocket:
        tcp = socket.socket(socket.AF_INET6 if ":" in self.where[0] else socket.AF_INET)
        tcp.settimeout(patience)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind(("", local))
        tcp.connect(self.where)
        return self.context.wrap_socket(tcp, server_hostname=self.name, session=session)

    def ask(self, tls: ssl.SSLSocket, path: str, close: bool) -> None:
        connection = "close" if close else "keep-alive"
        tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {self.name}\r\nConnection: {connection}\r\n\r\n".encode())

    def session(self, avoided: str = "") -> ssl.SSLSession:
        """Of any blade but `avoided`."""
        for _ in range(100):
            with self.connect(0, None, 10) as tls:
                self.ask(tls, "/", close=True)
                answer = b""
                while more := tls.recv(65536):
                    answer += more
                assert tls.session
                if blade(answer) != avoided:
                    return tls.session
        raise SystemExit(f"of 100 connections all went to {avoided}")


def blade(answer: bytes) -> str:
    found = [line for line in answer.decode(errors="replace").splitlines() if line.lower().startswith("x-blade:")]
    return found[0].split()[-1] if found else ""


def half(client: Client, local: int, seconds: float) -> None:
    with client.connect(local, client.session(), seconds) as tls:
        client.ask(tls, "/slow", close=True)
        socket.socket(fileno=os.dup(tls.fileno())).shutdown(socket.SHUT_WR)  # TCP's FIN, not TLS's end
        print("ready", flush=True)
        got = 0
        while more := tls.recv(65536):
            got += len(more)
        print(got)


def vanish(client: Client, local: int) -> None:
    """As when a machine loses its power, or its last word is lost."""
    repair = 19  # TCP_REPAIR: what is closed then says nothing
    with client.connect(local, None, 20) as tls:
        client.ask(tls, "/", close=False)
        print(blade(tls.recv(65536)))
        time.sleep(0.3)  # until the answer is acknowledged: nothing is sent again, to which its kernel would say RST
        tls.setsockopt(socket.IPPROTO_TCP, repair, 1)


def idle(client: Client, local: int, seconds: float, avoided: str = "") -> None:
    with client.connect(local, client.session(avoided), 20) as tls:
        client.ask(tls, "/", close=False)
        first = blade(tls.recv(65536))
        print("ready", flush=True)
        time.sleep(seconds)
        client.ask(tls, "/", close=True)
        answer = b""
        while more := tls.recv(65536):
            answer += more
        print("alive" if first not in ("", avoided) and blade(answer) == first else f"{first}: {answer!r}")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    elif sys.argv[1] == "vanish":
        vanish(Client(*sys.argv[2:7]), int(sys.argv[7]))
    else:
        {"half": half, "idle": idle, "elsewhere": idle}[sys.argv[1]](
            Client(*sys.argv[2:7]), int(sys.argv[7]), float(sys.argv[8]), *sys.argv[9:])
