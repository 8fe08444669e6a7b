"""Case 1: every polite request is ignored, also by a child."""

import os
import signal
import time

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
os.fork()
print("ready", flush=True)
while True:
    time.sleep(60)
