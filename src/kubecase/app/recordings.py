"""The recorded incidents that are shipped for `kubecase demo`."""

from importlib.resources import files
from pathlib import Path

from kubecase.core.errors import KubecaseError


def recordings() -> tuple[str, ...]:
    """The names of all shipped recordings, sorted."""
    return tuple(sorted(entry.name for entry in _folder().iterdir() if entry.is_dir()))


def recording_named(name: str) -> Path:
    """The folder of the recording `name`; raises KubecaseError with the names there are."""
    if name not in recordings():
        raise KubecaseError(
            f"no recording is called {name!r}", hint=f"There are: {', '.join(recordings())}."
        )
    return _folder() / name


def _folder() -> Path:
    return Path(str(files("kubecase"))) / "recordings"
