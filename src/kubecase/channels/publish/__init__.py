"""Where artifacts are kept for readers; a publisher implements `core.ports.Publisher`."""
