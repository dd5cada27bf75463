# SPDX-License-Identifier: Apache-2.0
"""A network that delays, reorders, duplicates and loses what the client sends: run inside the client's network.

Packets that are routed to the TUN device `bad0` come out on DEVICE, later or never. (The kernel's own netem
does the same, but not every kernel has it.) What comes back takes the straight way.

    bad_network.py DEVICE GATEWAY_MAC DELAY_MS REORDER DUPLICATE LOSS    the last three are shares of 1
"""

import fcntl
import heapq
import random
import select
import socket
import struct
import sys
import time

TUN = "bad0"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


def main(device: str, gateway: str, delay_ms: str, reorder: str, duplicate: str, loss: str) -> None:
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind((device, 0))
    addresses = bytes.fromhex(gateway.replace(":", "")) + wire.getsockname()[4]
    ether_type = {4: b"\x08\x00", 6: b"\x86\xdd"}
    dice, waiting = random.Random(7), []
    with open("/dev/net/tun", "r+b", buffering=0) as tun:
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH", TUN.encode(), IFF_TUN | IFF_NO_PI))
        while True:
            wait = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
            if select.select([tun], [], [], wait)[0]:
                packet = tun.read(65536)
                for _ in range(2 if dice.random() < float(duplicate) else 1):
                    if dice.random() < float(loss):
                        continue
                    late = 0 if dice.random() < float(reorder) else float(delay_ms) * (1 + dice.random()) / 1000
                    heapq.heappush(waiting, (time.monotonic() + late, dice.random(), packet))
            while waiting and waiting[0][0] <= time.monotonic():
                packet = heapq.heappop(waiting)[2]
                wire.send(addresses + ether_type[packet[0] >> 4] + packet)


if __name__ == "__main__":
    main(*sys.argv[1:])
