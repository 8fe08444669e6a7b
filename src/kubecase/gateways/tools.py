"""The tools that an agent is given, and what each does: read the cluster, read the case, report.

Whatever an agent passes is checked here; what goes wrong is told to it in a sentence. Each call is
on record.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from kubecase.core.errors import KubecaseError
from kubecase.core.kubectl import Refused, Resources, parse_line
from kubecase.core.redact import Redactor
from kubecase.core.report import report_from_json
from kubecase.gateways.audit import AuditLog
from kubecase.gateways.kubectl import Kubectl, Ran
from kubecase.gateways.tool_output import LONGEST, Narrowing, narrowed

AT_ONCE = 4
"""How many kubectls run at the same time for one agent."""

MAX_REPORT = 512 * 1024
KIND = "tool"
ONCE_MORE = (
    "Call write_report once more with the same markdown and with report_json, a JSON text such as "
    '{"summary": "two to five sentences", "hypotheses": [{"category": "one of the list in the '
    'prompt", "root_cause": "one sentence", "culprit": {"kind": "Deployment", "namespace": "shop", '
    '"name": "api"}, "confidence": 0.8, "evidence": [{"source": "event:Failed", "quote": "word for '
    'word"}], "next_steps": ["a change for a human"]}]}'
)


class CaseFiles(Protocol):
    """The workspace as tools see it. Its methods raise KubecaseError in words for the agent."""

    def names(self) -> tuple[str, ...]:
        """The files below context/ that may be read."""

    def read(self, name: str) -> bytes:
        """One of them."""

    def write_report(self, markdown: bytes, machine: bytes | None) -> None:
        """Put the report, and its machine form, where kubecase takes them from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAnswer:
    """What the agent is told; `is_error` says that nothing was done."""

    text: str
    is_error: bool = False


class ToolRefused(Exception):
    """A call that is not carried out, with the sentence for the agent."""


@dataclass(kw_only=True)
class Toolbox:
    """The tools of one run. `kubectl` is None where there is no cluster, or no program for it: then
    `why_no_cluster` says so. `files` is None where there is no case.
    """

    resources: Resources
    redactor: Redactor
    audit: AuditLog
    kubectl: Kubectl | None
    why_no_cluster: str
    files: CaseFiles | None
    most_calls: int = 1000
    calls: int = 0
    asked_for_form: bool = False
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def call(self, name: str, arguments: Mapping[str, Any]) -> ToolAnswer:
        """Carry out one call, whatever it is, and put it on record. Raises OSError without one."""
        begun, self.calls = time.monotonic(), self.calls + 1
        told: Mapping[str, Any] = {}
        try:
            if self.calls > self.most_calls:
                raise ToolRefused(f"the {self.most_calls} tool calls of this run are used up")
            told, work = self._work(name, arguments)
            answer = await work()
        except ToolRefused as error:
            answer = ToolAnswer(text=f"kubecase: {error}", is_error=True)
        data = answer.text.encode("utf-8", "replace")
        self.audit.record(
            KIND,
            tool=str(name)[:64],
            arguments=self.redactor.json(dict(told))[0],
            decision="refused" if answer.is_error else "allowed",
            reason=answer.text[:500] if answer.is_error else None,
            bytes=len(data),
            answer=self.audit.keep(data),
            ms=round((time.monotonic() - begun) * 1000),
        )
        return answer

    def _work(self, name: str, arguments: Mapping[str, Any]) -> "tuple[dict[str, Any], _Work]":
        """What is to go on record of the arguments, and what is to be done."""
        if name == "kubectl_read":
            command = _text(arguments, "command", 4096)
            jsonpath = _text(arguments, "jsonpath", 2048, needed=False)
            wanted = Narrowing(
                filter=_text(arguments, "filter", 500, needed=False),
                head=_number(arguments, "head"),
                tail=_number(arguments, "tail"),
            )
            return dict(arguments), lambda: self._kubectl_read(command, jsonpath, wanted)
        if name == "read_context" and self.files is not None:
            files, file = self.files, _text(arguments, "name", 200, needed=False)
            return dict(arguments), lambda: _read_context(files, file)
        if name == "write_report" and self.files is not None:
            files = self.files
            markdown = _text(arguments, "markdown", MAX_REPORT) or ""
            machine = _text(arguments, "report_json", MAX_REPORT, needed=False)
            told = {"sha256": hashlib.sha256(markdown.encode("utf-8", "replace")).hexdigest()}
            return told, lambda: self._write_report(files, markdown, machine)
        raise ToolRefused(f"there is no tool {name[:64]!a} here")

    async def _kubectl_read(
        self, command: str | None, jsonpath: str | None, wanted: Narrowing
    ) -> ToolAnswer:
        line = command or ""
        call = parse_line(line, self.resources)
        if isinstance(call, Refused):
            raise ToolRefused(call.says)
        if jsonpath:
            call = parse_line(f"{line} -o {_quoted('jsonpath=' + jsonpath)}", self.resources)
            if isinstance(call, Refused):
                raise ToolRefused(call.says)
        if self.kubectl is None:
            raise ToolRefused(self.why_no_cluster)
        async with self.turns:
            ran = await self.kubectl.run(call.argv)
        return ToolAnswer(text=self._told(ran, wanted))

    async def _write_report(
        self, files: CaseFiles, markdown: str, machine: str | None
    ) -> ToolAnswer:
        """Keep the report; a machine form that is missing or does not fit is asked for once."""
        text = markdown.encode("utf-8", "replace")
        if len(text) < 100:
            raise ToolRefused("a report has at least 100 bytes; nothing was written")
        wrong = _wrong_with(machine)
        form = None if machine is None or wrong else machine.encode("utf-8", "replace")
        try:
            files.write_report(text, form)
        except KubecaseError as error:
            raise ToolRefused(str(error)) from None
        if wrong is None:
            return ToolAnswer(text="The report is written. Write it again if need be.")
        if self.asked_for_form:
            return ToolAnswer(text=f"The report is written. {wrong}: causes are read from prose.")
        self.asked_for_form = True
        said = f"The report is written, its machine form is not: {wrong}."
        return ToolAnswer(text=f"{said} {ONCE_MORE}")

    def _told(self, ran: Ran, wanted: Narrowing) -> str:
        if ran.code is None:
            return "[kubecase: kubectl gave no answer in time, and was ended; ask for less]"
        text = self.redactor.text(ran.output.decode("utf-8", "replace"))[0]
        shown = narrowed(text, wanted)
        errors = self.redactor.text(ran.errors.decode("utf-8", "replace"))[0].strip()
        if ran.cut:
            shown += "\n[kubecase: there was more than 4 MiB of output; ask for less]"
        if errors:
            shown += f"\n[stderr]\n{errors[:LONGEST]}"
        if ran.code != 0:
            shown += f"\n[exit code {ran.code}]"
        return shown.strip() or "[kubecase: kubectl printed nothing]"


_Work = Callable[[], Awaitable[ToolAnswer]]


async def _read_context(files: CaseFiles, name: str | None) -> ToolAnswer:
    if not name:
        return ToolAnswer(text="\n".join(files.names()))
    try:
        data = files.read(name)
    except KubecaseError as error:
        raise ToolRefused(str(error)) from None
    return ToolAnswer(text=data.decode("utf-8", "replace"))


def _wrong_with(machine: str | None) -> str | None:
    """What is wrong with the machine form of a report; None if nothing is."""
    if machine is None or not machine.strip():
        return "report_json is missing"
    try:
        value = json.loads(machine)
    except (ValueError, RecursionError):
        return "report_json is not JSON"
    _, findings = report_from_json(value)
    return "report_json does not fit: " + "; ".join(findings[:5]) if findings else None


def _text(arguments: Mapping[str, Any], key: str, most: int, *, needed: bool = True) -> str | None:
    value = arguments.get(key)
    if value is None and not needed:
        return None
    if isinstance(value, list) and key == "command" and all(isinstance(v, str) for v in value):
        value = " ".join(_quoted(each) for each in value)
    if not isinstance(value, str) or (needed and not value.strip()):
        raise ToolRefused(f"the argument {key} is not a text")
    if len(value) > most:
        raise ToolRefused(f"the argument {key} is longer than {most} characters")
    return value


def _number(arguments: Mapping[str, Any], key: str) -> int | None:
    value = arguments.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 100_000:
        raise ToolRefused(f"the argument {key} is no number of lines from 1 to 100000")
    return value


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
