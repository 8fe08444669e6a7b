"""Case 2: a daemon with a session of its own and without the agent's streams; main may stay."""

import os
import sys
import time

told, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for handle in (0, 1, 2):
            os.close(handle)
        os.write(tell, b"x")
        while True:
            time.sleep(60)
    os._exit(0)
os.wait()
os.read(told, 1)
print("ready", flush=True)
while "stay" in sys.argv:
    time.sleep(60)
