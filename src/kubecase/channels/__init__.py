"""Faults in, reports out: one module for each way, behind the protocols of `core.ports`.

Here belong `sources` (whatever turns the outside world's words into a `Fault`), `sinks` (whatever
brings a finished report to people) and `publish` (where artifacts are kept). Never here: deciding
whether a fault is worth an investigation, running one, or writing to the store.
"""
