"""The program that stands between the service and one agent, one process for each run.

Here belong the modules of that program, which is run by its path (`python -I -S shim`): the
standard library only, and of that only what loads in a few milliseconds. They import one another
relatively, never the rest of the package; the rest may import them.
"""
