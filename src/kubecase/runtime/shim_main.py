"""The shim: one small process that starts one agent, watches it, and leaves nothing of it alive.

Stand-alone: standard library only, run as `python -I -S shim_main.py CONTROL_FD` with an empty
environment. What it needs comes through the control socket, so that nothing secret is in an
argument or a file: a line of JSON (the request, with `stdin_bytes`), then the bytes for standard
input. It answers with one line of JSON when the agent exists and one when all is over; the same is
in `started` and `exit` of the run directory, written atomically, for whoever comes later.

This file holds next to nothing, since the interpreter compiles a program anew at each start but
keeps the bytecode of what it imports.
"""

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from shim_run import main  # type: ignore[import-not-found]

    main(int(sys.argv[1]))
