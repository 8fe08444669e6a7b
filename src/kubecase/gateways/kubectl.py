"""Runs kubectl for an agent: an argv list that was parsed, against the gateway, with bounds."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MAX_OUTPUT = 4 * 1024 * 1024
MAX_ERRORS = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What came of it: exit code, output, errors; `cut` says that there was more output.

    `code` is None when it took too long and was ended.
    """

    code: int | None
    output: bytes
    errors: bytes
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubectl:
    """A kubectl with a kubeconfig that leads to the gateway, and a home of its own.

    `program` is an absolute path; `seconds` bounds each call.
    """

    program: str
    directory: Path
    seconds: float = 75.0

    @classmethod
    @asynccontextmanager
    async def ready(cls, program: str, kubeconfig: bytes) -> "AsyncIterator[Kubectl]":
        """One whose files are gone when the block is left."""
        with tempfile.TemporaryDirectory(prefix="kubecase-kubectl-") as name:
            directory = Path(name)
            path = directory / "kubeconfig"
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(handle, "wb") as file:
                file.write(kubeconfig)
            yield cls(program=program, directory=directory)

    async def run(self, argv: tuple[str, ...]) -> Ran:
        """Run it with `argv`, to its end or ours; nothing of it is left."""
        environment = {
            "HOME": str(self.directory),
            "KUBECONFIG": str(self.directory / "kubeconfig"),
            "PATH": os.path.dirname(self.program),
            "LANG": "C.UTF-8",
        }
        process = await asyncio.create_subprocess_exec(
            self.program, *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            cwd=self.directory,
            start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018
        try:
            async with asyncio.timeout(self.seconds):
                (output, cut), (errors, _) = await asyncio.gather(
                    _read(process.stdout, MAX_OUTPUT), _read(process.stderr, MAX_ERRORS)
                )
                if cut:
                    _kill(process.pid)
                return Ran(code=await process.wait(), output=output, errors=errors, cut=cut)
        except TimeoutError:
            return Ran(code=None, output=b"", errors=b"")
        finally:
            if process.returncode is None:
                _kill(process.pid)
                await asyncio.shield(process.wait())


async def _read(stream: asyncio.StreamReader, most: int) -> tuple[bytes, bool]:
    data = bytearray()
    while piece := await stream.read(65536):
        data += piece
        if len(data) > most:
            return bytes(data[:most]), True
    return bytes(data), False


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
