"""A folder of recorded objects, events and logs, read without trust.

`*.json` and `*.jsonl` hold objects, Events, Lists of them or notifications of a watch;
`logs-<container>-current.txt` and `-previous.txt` belong to the pod in `pod.json` beside them, and
`logs-<x>-<container>-current.txt` to that in `pod-<x>.json`. A file that is a fault of its own
(also a triage case) says what the incident is about. Anything else is not looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from kubecase.channels.sources.intake import (
    Arrival,
    FaultInput,
    Form,
    Intake,
    mapping_of,
    rejected,
    text_of,
)
from kubecase.channels.sources.mapping import one, watched
from kubecase.channels.sources.recognise import form_of
from kubecase.channels.sources.recorded_files import JSON_ENDINGS, RecordedFiles, read_files
from kubecase.channels.sources.recording import Recording, as_bytes, fault_from_recording, flattened
from kubecase.clusters.kinds import kind_of
from kubecase.clusters.untrusted import Unreadable, decode, parse_documents
from kubecase.core.errors import FaultRejected
from kubecase.core.model import Gap


def faults_in_folder(folder: Path, arrival: Arrival) -> Intake:
    """The faults recorded in `folder`: one from its objects and events, or those that it states.

    Links are not followed, only regular files are read: at most 2000 entries, three levels and
    64 MiB in all, 8 MiB of JSON a file, the last 1 MiB of a log. What could not be read is a gap
    or a note. Raises FaultRejected if the folder cannot be read, is too large, or holds no fault.
    """
    sorting = _Sorting(found=read_files(folder), arrival=arrival)
    sorting.sort()
    recording, stated = sorting.recording, sorting.stated
    is_recording = bool(recording.objects or recording.events)
    if not is_recording and not stated:
        raise rejected("the folder holds no fault, object or event that could be read")
    if is_recording and len(stated) <= 1 and all(each.collection is None for each in stated):
        origin = f"recorded folder {folder.resolve().name}"
        given = stated[0] if stated else None
        stated = [fault_from_recording(recording, arrival, origin=origin, given=given)]
    elif is_recording:
        sorting.note("objects and events beside several faults or a triage case were left out")
    return Intake(form=Form.FOLDER, faults=tuple(stated), notes=tuple(sorting.found.notes))


@dataclass(kw_only=True)
class _Sorting:
    """The files of a folder, sorted into what was recorded and which faults are stated."""

    found: RecordedFiles
    arrival: Arrival
    recording: Recording = field(default_factory=Recording)
    stated: list[FaultInput] = field(default_factory=list)
    changes: list[Mapping[str, Any]] = field(default_factory=list)
    pods: dict[PurePosixPath, Mapping[str, Any]] = field(default_factory=dict)

    def note(self, text: str) -> None:
        self.found.notes.append(text)

    def sort(self) -> None:
        for path, data in self.found.files.items():
            if path.suffix in JSON_ENDINGS:
                self._take_json(path, data)
        for each in watched(self.changes):
            self.recording.add(each)
        wanted = self._wanted_logs()
        for path, data in self.found.files.items():
            if path in wanted:
                self.recording.add_log(wanted[path], self._text(path, data))
            elif path.suffix not in JSON_ENDINGS:
                self.note(f"{path}: belongs to no recorded pod")

    def _text(self, path: PurePosixPath, data: bytes) -> str:
        text, replaced = decode(data)
        if replaced:
            self.note(f"{path}: {replaced} bytes that are not UTF-8 were replaced")
        return text

    def _take_json(self, path: PurePosixPath, data: bytes) -> None:
        try:
            values = [value for value, _, _ in parse_documents(self._text(path, data))]
            for outer in values:
                for value in outer if isinstance(outer, list) else [outer]:
                    self._take(path, _with_kind(value, path))
        except (Unreadable, FaultRejected) as error:
            self.recording.gaps.append(Gap(what=f"file {path}", why=str(error)))

    def _take(self, path: PurePosixPath, value: Any) -> None:
        form = form_of(value)
        if form is Form.WATCH:
            self.changes.append(value)
        elif form in {Form.OBJECTS, Form.EVENT, Form.EVENT_V1}:
            self.recording.add(value)
            first = next(iter(flattened(value)), None)
            if mapping_of(first).get("kind") == "Pod":
                self.pods.setdefault(path, mapping_of(first))
        else:
            intake = one(value, as_bytes(value), self.arrival)
            self.stated += [
                replace(each, notes=(*each.notes, f"from {path}")) for each in intake.faults
            ]
            for note in intake.notes:
                self.note(f"{path}: {note}")

    def _wanted_logs(self) -> dict[PurePosixPath, str]:
        """Which log of which container each file of logs is, by the pod files beside it."""
        wanted: dict[PurePosixPath, str] = {}
        for path, pod in self.pods.items():
            head, _, suffix = path.stem.partition("-")
            if head != "pod":
                continue
            metadata = mapping_of(pod.get("metadata"))
            namespace = text_of(metadata.get("namespace")) or "default"
            prefix = f"logs-{suffix}-" if suffix else "logs-"
            for name in containers_of(pod):
                key = f"{namespace}/{text_of(metadata.get('name'))}/{name}"
                for which, ending in (("current", ""), ("previous", "/previous")):
                    file = path.parent / f"{prefix}{name}-{which}.txt"
                    wanted.setdefault(file, key + ending)
        return wanted


def _with_kind(value: Any, path: PurePosixPath) -> Any:
    """An object without its kind is what its file is called: `node.json` is a Node."""
    if isinstance(value, dict) and "kind" not in value and isinstance(value.get("metadata"), dict):
        known = kind_of(path.stem.partition("-")[0])
        if known:
            return {"apiVersion": known.api_version, "kind": known.kind, **value}
    return value


def containers_of(pod: Mapping[str, Any]) -> list[str]:
    """The names of the containers of `pod`: first init containers, then the others."""
    spec = mapping_of(pod.get("spec"))
    names: list[str] = []
    for key in ("initContainers", "containers", "ephemeralContainers"):
        found = spec.get(key)
        entries = found if isinstance(found, list) else []
        names += [text_of(mapping_of(each).get("name")) for each in entries]
    return [name for name in names if name]
