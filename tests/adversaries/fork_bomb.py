"""Case 6: a tree of processes seven levels deep that grows again when cut; bounded."""

import os
import sys
import time

DEPTH = 6


def grow(level: int) -> None:
    if level == DEPTH:
        while True:
            time.sleep(60)
    if level % 3 == 2:
        os.setsid()
    for _ in range(2):
        if os.fork() == 0:
            grow(level + 1)
    while True:
        os.wait()
        if os.fork() == 0:
            grow(level + 1)


if os.fork() == 0:
    grow(0)
time.sleep(0.3)
print("ready", flush=True)
if "stay" in sys.argv:
    while True:
        time.sleep(60)
