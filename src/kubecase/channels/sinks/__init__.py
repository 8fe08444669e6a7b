"""Where reports go: each module implements `core.ports.Sink` for one channel."""
