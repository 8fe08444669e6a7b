"""Case 21: an endless line, JSON that is deep, a number without an end, then one good line."""

import sys

out = sys.stdout.buffer
for _ in range(int(sys.argv[1])):
    out.write(b"y" * 1024 * 1024)
out.write(b"\n" + b"[" * 100_000 + b"]" * 100_000 + b"\n")
out.write(b'{"a":' * 100_000 + b"\n")
out.write(b'{"number": ' + b"9" * 100_000 + b"}\n")
out.write(b'{"moment": "message", "text": "still here"}\n')
out.flush()
