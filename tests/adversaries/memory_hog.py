"""Case 12: four processes that take up to 256 MiB each; says how much they got together."""

import os
import sys
import time

EACH, STEP = 256 * 1024 * 1024, 16 * 1024 * 1024
reader, writer = os.pipe()
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        taken = []
        try:
            for _ in range(EACH // STEP):
                block = bytearray(STEP)
                block[::4096] = b"x" * len(block[::4096])
                taken.append(block)
                os.write(writer, b".")
        except MemoryError:
            pass
        time.sleep(0.2)
        os._exit(0)
os.close(writer)
steps = 0
while data := os.read(reader, 4096):
    steps += len(data)
print(f"got {steps * STEP >> 20} MiB", flush=True)
