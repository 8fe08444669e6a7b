"""What every test may ask for, and that nothing is skipped where everything is installed."""

import os
from collections.abc import Iterator

import pytest

from fakes.postgres import postgres

__all__ = ["postgres"]

NO_SKIPS = os.environ.get("KUBECASE_NO_SKIPS") == "1"
_skipped: list[str] = []


@pytest.fixture
def anyio_backend() -> str:
    """Every asynchronous test runs on asyncio, as the service does."""
    return "asyncio"


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the home of whoever runs it."""
    home = tmp_path_factory.mktemp("home")
    before = {name: os.environ.get(name) for name in ("HOME", "XDG_DATA_HOME")}
    os.environ["HOME"] = str(home)
    os.environ.pop("XDG_DATA_HOME", None)
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember what was skipped, and why."""
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append(f"{report.nodeid}: {report.longrepr}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that skipped anything, where `.ci/run` has installed everything."""
    if NO_SKIPS and _skipped and not hasattr(session.config, "workerinput"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was skipped where nothing may be."""
    if NO_SKIPS and _skipped:
        terminalreporter.section("skipped, which fails this run")
        for line in _skipped:
            terminalreporter.line(line)
