"""Giving a workspace to the user that its agent will run as."""

import os
import time

from kubecase.workspace.directory import Workspace, told
from kubecase.workspace.walk import Found, walk

HAND_OVER_SECONDS = 30.0


def hand_over(workspace: Workspace, uid: int, gid: int) -> None:
    """Make `uid` and `gid` the owners of `workspace` and of everything in it, modes unchanged.

    To be called before the agent runs: then nothing in it is anybody's but ours. Links are given
    away themselves, not what they lead to. Raises WorkspaceError.
    """
    with told(f"give workspace {workspace.root} to user {uid}"), workspace.opened() as top:
        for each in walk(top, deadline=time.monotonic() + HAND_OVER_SECONDS):
            if not isinstance(each, Found):
                raise OSError(0, each.why, each.relative)
            os.chown(each.name, uid, gid, dir_fd=each.directory, follow_symlinks=False)
        os.fchown(top, uid, gid)
