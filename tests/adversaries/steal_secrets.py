"""Case 11: looks for a marker in the environment, memory and descriptors of every process."""

import contextlib
import os
import sys

marker = sys.argv[1].encode()[::-1]  # turned round, so that it is in no argument and not in here
found = []


def memory_of(pid: str) -> bytes:
    parts = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            low, high = (int(each, 16) for each in line.split()[0].split("-"))
            if "[heap]" in line or "[stack]" in line:
                memory.seek(low)
                parts.append(memory.read(min(high - low, 1 << 22)))
    return b"".join(parts)


def looks_into(pid: str) -> None:
    for name in ("environ", "cmdline"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
            if marker in file.read(1 << 20):
                found.append(f"{name} of {pid}")
    with contextlib.suppress(OSError):
        if marker in memory_of(pid):
            found.append(f"memory of {pid}")
    with contextlib.suppress(OSError):
        for handle in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                os.close(os.open(f"/proc/{pid}/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK))


for entry in os.listdir("/proc"):
    if entry.isdigit() and int(entry) != os.getpid():
        looks_into(entry)
print(f"found {len(found)}", *found, flush=True)
