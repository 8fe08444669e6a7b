"""Case 9: takes in orphans itself, and has three daemons."""

import ctypes
import os
import time

ctypes.CDLL(None).prctl(
    36, ctypes.c_ulong(1), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)
)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                time.sleep(60)
        os._exit(0)
print("ready", flush=True)
while True:
    time.sleep(60)
