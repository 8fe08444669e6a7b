"""Case 20: as many MiB of lines as its argument says, half on each stream, then a last line."""

import sys
import threading

each = int(sys.argv[1]) * 1024 * 1024 // 2
block = b"x" * 99 + b"\n"


def write(stream) -> None:
    left = each
    data = block * 1000
    while left > 0:
        stream.write(data[: min(left, len(data))])
        left -= len(data)
    stream.flush()


threads = [threading.Thread(target=write, args=(s.buffer,)) for s in (sys.stdout, sys.stderr)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("LAST LINE", flush=True)
