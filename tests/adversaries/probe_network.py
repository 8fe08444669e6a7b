"""Case 25: tries every way out. Prints one line for each way that is open, then how many were."""

import socket
import sys
import time

port = int(sys.argv[1])
WAYS = {
    "tcp to the host": (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", int(sys.argv[2]))),
    "metadata": (socket.AF_INET, socket.SOCK_STREAM, ("169.254.169.254", 80)),
    "tcp6": (socket.AF_INET6, socket.SOCK_STREAM, ("::1", int(sys.argv[2]))),
    "udp": (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", int(sys.argv[2]))),
    "raw": (socket.AF_INET, socket.SOCK_RAW, ("127.0.0.1", 0)),
    "packet": (socket.AF_PACKET, socket.SOCK_RAW, None),
    "netlink": (socket.AF_NETLINK, socket.SOCK_RAW, (0, 0)),
    "vsock": (socket.AF_VSOCK, socket.SOCK_STREAM, (2, 1024)),
    "abstract": (socket.AF_UNIX, socket.SOCK_STREAM, f"\0{sys.argv[3]}"),
    "socket file": (socket.AF_UNIX, socket.SOCK_STREAM, sys.argv[4]),
    "gateway": (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port)),
}
is_open = []
slowest = 0.0
for name, (family, kind, address) in WAYS.items():
    begun = time.monotonic()
    try:
        with socket.socket(family, kind) as made:
            made.settimeout(1)
            if address is not None:
                made.connect(address)
            if name == "gateway":
                made.sendall(b"hello")
        is_open.append(name)
    except OSError:
        slowest = max(slowest, time.monotonic() - begun)
print("open:", ", ".join(is_open) or "nothing", flush=True)
print("refused at once" if slowest < 0.5 else f"slow: {slowest}", flush=True)
