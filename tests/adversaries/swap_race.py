"""Case 14: exchanges a file with a link, and a directory with a link, as fast as it can."""

import ctypes
import os
import time

EXCHANGE, AT_FDCWD = 2, -100
os.makedirs("output/artifacts/dir", exist_ok=True)
os.chdir("output/artifacts")
for name in ("file", "dir/passwd"):
    with open(name, "w") as file:
        file.write("mine")
os.symlink("/etc/passwd", "link")
os.symlink("/etc", "dirlink")
libc = ctypes.CDLL(None)
pairs = ((b"file", b"link"), (b"dir", b"dirlink"))
print("ready", flush=True)
until = time.monotonic() + 60
while time.monotonic() < until:
    for one, other in pairs:
        libc.renameat2(AT_FDCWD, one, AT_FDCWD, other, EXCHANGE)
