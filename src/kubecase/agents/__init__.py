"""How to ask one AI command line program, and how to read what it answers.

Here belong, one file per program, the argument list, the environment, the private files and the
reading of its output, and in one place (`readonly`) what an agent may do at all. Everything is a
pure function of values. Never here: a file that is opened, a process, a socket, a clock, the
environment of this process, or trust in anything that an agent printed. The one exception is
`scripted_program`, a stand-alone script that is run as the scripted agent and never imported.
"""

from kubecase.agents.options import AgentSettings

__all__ = ["AgentSettings"]
