"""What an incident is and what may happen to it.

Here belong values, the tables that say which value may follow which, pure decisions, and the
protocols through which the rooms know one another. Never here: a clock, randomness, the
environment, a file, a socket, a process, or an import from any other room.
"""
