"""The command line: names, help and dispatch. Commands are imported when they are called."""

import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kubecase import __version__

if TYPE_CHECKING:
    from cyclopts import App

COMMANDS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "Start here": (
        ("demo", "investigate:demo", "work a recorded incident: no key, no cluster"),
        ("doctor", "doctor:doctor", "what works on this machine, and how to get the rest"),
    ),
    "Investigate": (
        (
            "investigate",
            "investigate:investigate",
            "one investigation now: file, folder, KIND/NAME",
        ),
        ("diagnose", "diagnose:diagnose", "the built-in investigator alone, report JSON out"),
    ),
    "Serve": (("serve", "serve:serve", "the service: watch, take alerts, work through them"),),
    "Incidents": (
        ("list", "incidents:list_", "incidents, newest first"),
        ("show", "incidents:show", "one incident: what happened, when, and the conclusion"),
        ("tail", "incidents:tail", "the agent's log, also while it runs"),
        ("cancel", "incidents:cancel", "stop an investigation and wait until it is gone"),
        ("notify", "notify:app", "tell people of an incident, or try whether they are reached"),
        ("retry", "investigate:retry", "another attempt at an incident on record"),
        ("feedback", "incidents:feedback", "say whether a report was right"),
        ("verify", "incidents:verify", "whether anything on record was changed since"),
        ("recover", "recover:recover", "take over what a killed kubecase has left"),
    ),
    "Cluster access": (
        ("gateway", "gateway:gateway", "a read-only, redacted, recorded kubeconfig for anybody"),
        ("mcp", "mcp:mcp", "the read-only kubectl tool for any agent, over stdio"),
        ("rbac", "access:rbac", "manifests of a ServiceAccount that only reads"),
        ("kubeconfig", "access:kubeconfig", "a read-only kubeconfig from that ServiceAccount"),
    ),
    "Containers": (
        ("container", "container:app", "run an agent in a container, in a workspace of yours"),
    ),
    "House keeping": (
        ("config", "config:app", "settings: show, schema, example"),
        ("db", "db:app", "the database: check, upgrade, backup"),
        ("skills", "skills:app", "skills of agents: list, add, pin, verify, remove, rollback"),
        ("token", "token:app", "who may use the HTTP API: create, list, revoke"),
        ("gc", "gc:gc", "delete or archive workspaces whose time is over"),
        ("completion", "completion:completion", "shell completion for bash, zsh or fish"),
    ),
}

EXAMPLES = """\
Examples:
  kubecase demo
  kubecase investigate fault.json
  kubecase investigate pod/api-0 -n shop --kubeconfig ~/.kube/config
  kubecase list

`kubecase COMMAND --help` teaches each command. Exit codes: 0 success, 1 the agent failed,
2 you can put it right, 3 a bug of ours, 130 interrupted.
"""


def help_text() -> str:
    """What `kubecase --help` prints; made without any library, so that it is there at once."""
    lines = [
        "kubecase opens a case for every Kubernetes fault and has an agent investigate it:",
        "read-only, contained, on the record.",
        "",
        "Usage: kubecase COMMAND [ARGUMENTS] [OPTIONS]",
    ]
    for group, commands in COMMANDS.items():
        lines += ["", f"{group}:"]
        lines += [f"  {name:<13}{about}" for name, _, about in commands]
    return "\n".join(lines) + "\n\n" + EXAMPLES


def build() -> "App":
    """The command line as cyclopts knows it; commands are imported when they are called."""
    from cyclopts import App, Group

    app = App(
        name="kubecase",
        version=__version__,
        help="Opens a case for every Kubernetes fault: read-only, contained, on the record.",
        result_action="return_value",
        help_format="markdown",
    )
    for number, (title, commands) in enumerate(COMMANDS.items()):
        group = Group(title, sort_key=number)
        for name, where, _ in commands:
            app.command(f"kubecase.app.commands.{where}", name=name, group=group)
    return app


def usable_streams() -> None:
    """Make sure that there are three streams, and that any text can be written to two of them.

    A closed descriptor would be given to the next file that is opened, such as the record.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0)  # noqa: SIM115 - as long as the process lives
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line with `argv`, the process's own by default, and leave with its code."""
    usable_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words in (["--help"], ["-h"], ["help"]):
        sys.stdout.write(help_text())
        raise SystemExit(0)
    if words in (["--version"], ["-V"]):
        print(f"kubecase {__version__}")
        raise SystemExit(0)
    from kubecase.app.boundary import told_to_a_human
    from kubecase.app.settings import crash_log_path

    code = 0
    with told_to_a_human(sys.stderr, crash_log_path, json="--json" in words):
        code = build()(words, exit_on_error=True)
        sys.stdout.flush()
    raise SystemExit(code if isinstance(code, int) else 0)
