"""Case 3: 150 children, every second one in a session of its own."""

import os
import time

told, tell = os.pipe()
for number in range(150):
    if os.fork() == 0:
        if number % 2:
            os.setsid()
        os.write(tell, b"x")
        while True:
            time.sleep(60)
left = 150
while left:
    left -= len(os.read(told, left))
print("ready", flush=True)
while True:
    time.sleep(60)
