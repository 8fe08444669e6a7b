"""Hold the lifeline open, pass it on to every child, and run the program given as argument."""

import fcntl
import os
import sys

# Out of the way of adversaries that write to every descriptor that they find.
lifeline = os.open("lifeline", os.O_WRONLY)
os.set_inheritable(fcntl.fcntl(lifeline, fcntl.F_DUPFD, 200), True)
os.close(lifeline)
program, sys.argv = sys.argv[1], sys.argv[1:]
with open(program) as file:
    code = compile(file.read(), program, "exec")
exec(code, {"__name__": "__main__"})
