"""Case 4: main ends well, a daemon goes on writing to the standard output that it was given."""

import os
import time

if os.fork() == 0:
    os.setsid()
    while True:
        os.write(1, b"noise\n")
        time.sleep(0.001)
print("result", flush=True)
