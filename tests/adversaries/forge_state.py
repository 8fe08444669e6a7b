"""Case 24: forges records, cuts its log, writes to descriptors above two, types at a terminal."""

import contextlib
import os

print("evidence", flush=True)
for name in ("exit", "started", "order", ".exit.tmp"):
    with open(name, "w") as file:
        file.write('{"cause": "exited", "code": 0}')
with contextlib.suppress(OSError):
    os.symlink("/etc/passwd", ".started.tmp")
with contextlib.suppress(OSError):
    os.ftruncate(1, 0)
for handle in range(3, 64):
    with contextlib.suppress(OSError):
        os.write(handle, b"forged")
with contextlib.suppress(OSError):
    import fcntl

    fcntl.ioctl(0, 0x5412, b"x")  # TIOCSTI: type for whoever sits at the terminal
    print("typed", flush=True)
os._exit(9)
