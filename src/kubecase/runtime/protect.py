"""What keeps processes of the same user from looking into this one."""

import sys
from contextlib import suppress

from kubecase.runtime.shim.kernel import PR_SET_DUMPABLE, prctl


def close_to_same_user() -> None:
    """Make environment, memory and descriptors of this process unreadable for its own user.

    An agent may run as that user, and this process holds keys. Root can look all the same, unless
    it has lost its capabilities, as agents have. Does nothing where the system has no such thing.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            prctl(PR_SET_DUMPABLE, 0)
