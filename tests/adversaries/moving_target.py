"""Case 7: twelve chains of processes that fork, take a new session and end every two ms."""

import os
import sys
import time

for _ in range(12):
    if os.fork() == 0:
        while True:
            if os.fork() != 0:
                os._exit(0)
            os.setsid()
            time.sleep(0.002)
print("ready", flush=True)
while "stay" in sys.argv:
    time.sleep(60)
