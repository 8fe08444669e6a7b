"""Case 23: opens descriptors until it may not, then fills its workspace in files of 16 MiB."""

import os

handles = []
try:
    while len(handles) < 100_000:
        handles.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    print(f"stopped at {len(handles)}: {error.errno}", flush=True)
for handle in handles:
    os.close(handle)
block = b"z" * (1 << 20)
for number in range(256):
    with open(f"fill-{number}", "wb") as file:
        file.writelines(block for _ in range(16))
print("filled four GiB", flush=True)
