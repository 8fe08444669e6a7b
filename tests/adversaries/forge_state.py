"""Case 24: forges records around itself, cuts its log, writes to descriptors above two."""

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
os._exit(9)
