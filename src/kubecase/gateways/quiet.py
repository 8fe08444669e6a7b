"""Loggers of libraries that say nothing: what is no HTTP is answered with 400, and is no news.

They would write such requests, which are the agent's own words, to our error stream.
"""

import logging


def quieten(name: str) -> logging.Logger:
    """The logger `name`, which from now on has nobody to tell."""
    logger = logging.getLogger(name)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger


QUIET = quieten("kubecase.gateways.http")
