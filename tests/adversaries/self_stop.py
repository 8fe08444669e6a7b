"""Case 5: stops itself, and has something to say when it is asked to end."""

import os
import signal
import sys


def farewell(*_: object) -> None:
    print("farewell", flush=True)
    sys.exit(5)


signal.signal(signal.SIGTERM, farewell)
print("ready", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
while True:
    signal.pause()
