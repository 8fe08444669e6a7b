"""Files that kubecase keeps for itself, where no agent can write."""

import os
from collections.abc import Mapping
from pathlib import Path

from kubecase.workspace.directory import checked_root, told
from kubecase.workspace.handles import below, put_file, root_directory
from kubecase.workspace.names import parts_of, shown


def keep_files(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write `files`, content by relative path, into `directory`: 0700, files 0600, each at once.

    What is missing of `directory` is created; files of the same name are replaced. The files are on
    the disk when this returns. Raises OutsideWorkspace for a link in `directory` or a path that
    leads out of it, and WorkspaceError.
    """
    path = checked_root(directory)
    with told(f"keep files in {shown(str(path))}"), root_directory(path, create=True) as top:
        for relative, data in files.items():
            *parents, name = parts_of(relative)
            with below(top, parents, create=True) as inner:
                put_file(name, inner, data, durable=True)
        os.fsync(top)
