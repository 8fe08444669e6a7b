"""Case 10: kills whatever it may. Says so and stops where that would reach beyond its sandbox."""

import contextlib
import os
import signal
import sys

outside, namespace = int(sys.argv[1]), sys.argv[2]
own_namespace = os.readlink("/proc/self/ns/pid") != namespace
if not own_namespace:
    for pid in (outside, os.getppid()):
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.kill(pid, 0)
            print(f"may signal {pid}", flush=True)
            sys.exit(0)
print("tries", flush=True)
for pid in (outside, os.getppid(), -1):
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
print("survived", flush=True)
