"""Case 8: begins anew with an empty environment, the name of a kernel thread, and cwd /."""

import os
import sys

if os.fork() == 0:
    os.setsid()
    os.chdir("/")
    code = "import os, time; os.write(1, b'ready\\n'); time.sleep(600)"
    os.execve(sys.executable, ["[kworker/0:1]", "-I", "-S", "-c", code], {})
os.wait()
