"""A Kubernetes API server for tests: serves recorded objects, events and logs, and misbehaves.

    with FakeCluster(recorded("crashloop")) as cluster:
        path = cluster.kubeconfig(tmp_path / "kubeconfig")
        ...
        assert {method for method, _ in cluster.requests} == {"GET"}

It answers as a real one does: objects, lists with label and field selectors and `limit`, logs of
pods with `container`, `previous`, `tailLines` and `limitBytes`, `Status` objects for errors. It has
Secrets too if it is given some, so that a test can prove that nobody asks for them.
"""

import json
import re
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote

from fakes.kube_discovery import SELF_REVIEWS, danger_of, discovery
from kubecase.channels.sources import load_intake
from kubecase.clusters.kinds import KINDS
from kubecase.core.model import Collection

DATA = Path(__file__).parent.parent / "data" / "k8s-failures"

PLURALS = {(each.root, each.plural): each.kind for each in KINDS}
PLURALS["/api/v1", "secrets"] = "Secret"
PLURALS["/apis/metrics.k8s.io/v1beta1", "pods"] = "PodMetrics"
PLURALS["/apis/metrics.k8s.io/v1beta1", "nodes"] = "NodeMetrics"
API_VERSIONS = {
    kind: root.removeprefix("/apis/").removeprefix("/api/") for (root, _), kind in PLURALS.items()
}

_PATH = re.compile(
    r"(?P<root>/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/(?P<ns>[^/]+))?"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+)(?:/(?P<part>[a-z]+))?)?"
)


def recorded(name: str | Path) -> Collection:
    """One of the recorded failures, or any recorded folder, ready to be served."""
    folder = DATA / name
    (found,) = load_intake(folder, now=datetime.now(UTC), cluster_default="fake").faults
    assert found.collection is not None
    known = found.collection
    unrecorded = (*_replica_sets(known), *_jobs(known))
    return replace(known, objects=(*known.objects, *unrecorded))


def _replica_sets(collection: Collection) -> Iterator[Mapping[str, Any]]:
    """The ReplicaSets that were there but were not recorded, as far as pods and events tell."""
    deployments = {
        each["metadata"]["name"]: each
        for each in collection.objects
        if each["kind"] == "Deployment"
    }
    sets: dict[str, str] = {}
    for pod in collection.objects:
        for owner in pod["metadata"].get("ownerReferences", ()):
            if owner["kind"] == "ReplicaSet":
                sets[owner["name"]] = owner["uid"]
    for event in collection.events:
        involved = event["involvedObject"]
        if involved["kind"] == "ReplicaSet":
            sets[involved["name"]] = involved["uid"]
    for name, uid in sets.items():
        deployment = deployments.get(name.rpartition("-")[0])
        if deployment is None:
            continue
        metadata, hash_ = deployment["metadata"], name.rpartition("-")[2]
        controller = {"apiVersion": "apps/v1", "kind": "Deployment", "controller": True}
        labels = {
            **deployment["spec"]["template"]["metadata"]["labels"],
            "pod-template-hash": hash_,
        }
        yield {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name,
                "namespace": metadata["namespace"],
                "uid": uid,
                "labels": labels,
                "ownerReferences": [
                    {**controller, "name": metadata["name"], "uid": metadata["uid"]}
                ],
            },
            "spec": {
                "replicas": deployment["spec"]["replicas"],
                "selector": {"matchLabels": labels},
                "template": deployment["spec"]["template"],
            },
            "status": {},
        }


def _jobs(collection: Collection) -> Iterator[Mapping[str, Any]]:
    """The Jobs of recorded CronJobs that were not recorded, as far as their pods tell."""
    for cronjob in collection.objects:
        if cronjob["kind"] != "CronJob":
            continue
        metadata = cronjob["metadata"]
        owner = {"kind": "CronJob", "controller": True, "name": metadata["name"]}
        found = {
            ref["name"]: (ref["uid"], pod["metadata"]["labels"])
            for pod in collection.objects
            for ref in pod["metadata"].get("ownerReferences", ())
            if ref["kind"] == "Job" and ref["name"].startswith(metadata["name"])
        }
        for name, (uid, labels) in found.items():
            selector = {key: value for key, value in labels.items() if key.endswith("job-name")}
            yield {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {
                    "name": name,
                    "namespace": metadata["namespace"],
                    "uid": uid,
                    "ownerReferences": [{**owner, "uid": metadata["uid"]}],
                },
                "spec": {
                    **cronjob["spec"]["jobTemplate"]["spec"],
                    "selector": {"matchLabels": selector},
                },
                "status": {},
            }


@dataclass(frozen=True)
class Authority:
    """A certificate authority of our own with one server certificate for 127.0.0.1."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def make(cls, directory: Path) -> Self:
        """Make both in `directory`, with the openssl program."""

        def openssl(*arguments: str) -> None:
            subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

        new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        as_ca = ("-subj", "/CN=fake cluster", "-addext", "keyUsage=critical,keyCertSign")
        openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.crt", *as_ca)
        openssl("req", *new_key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=fake")
        (directory / "server.ext").write_text("subjectAltName=IP:127.0.0.1,DNS:fake.cluster\n")
        by_ca = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial")
        with_name = ("-extfile", "server.ext")
        openssl("x509", "-req", "-in", "server.csr", *by_ca, "-out", "server.crt", *with_name)
        return cls(directory / "ca.crt", directory / "server.crt", directory / "server.key")


@dataclass(frozen=True)
class Answer:
    """What the server says instead of the truth to requests whose path fits a pattern."""

    pattern: re.Pattern[str]
    status: int = 200
    body: bytes | None = None
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False
    stream: Iterator[bytes] | None = None


class FakeCluster:
    """The server, alive inside a `with` block. `requests` is method and path of all it was asked.

    With `token` every request needs it. With `authority` it speaks TLS.
    """

    def __init__(
        self,
        collection: Collection | None = None,
        *,
        objects: Sequence[Mapping[str, Any]] = (),
        events: Sequence[Mapping[str, Any]] = (),
        logs: Mapping[str, str] | None = None,
        token: str | None = None,
        authority: Authority | None = None,
    ) -> None:
        given = (*collection.objects, *collection.events) if collection else ()
        self.objects: list[Mapping[str, Any]] = [*given, *objects, *events]
        self.logs = {**(collection.logs if collection else {}), **(logs or {})}
        self.no_logs = {
            gap.what.removeprefix("log "): gap.why
            for gap in (collection.gaps if collection else ())
        }
        self.token = token
        self.requests: list[tuple[str, str]] = []
        self.headers: list[Mapping[str, str]] = []
        self.most_at_once = 0
        self.reached: list[str] = []
        self.may: Callable[[Mapping[str, Any]], bool] = reader_may
        self.reviews: list[Mapping[str, Any]] = []
        self._feeds: list[tuple[str, list[Mapping[str, Any]]]] = []
        self._changed = threading.Condition()
        self._authority = authority
        self._answers: list[Answer] = []
        self._active = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def answer(self, pattern: str, status: int, message: str = "", **more: Any) -> None:
        """Answer requests that fit `pattern` with `status`; `more` is a `body` and `headers`."""
        self._answers.append(Answer(re.compile(pattern), status, message=message, **more))

    def emit(self, change: str, each: Mapping[str, Any]) -> None:
        """Tell all watches of an object; a `change` is ADDED, MODIFIED or DELETED."""
        with self._changed:
            for kind, feed in self._feeds:
                if kind == each["kind"]:
                    feed.append({"type": change, "object": each})
            self._changed.notify_all()

    def add_log(self, key: str, text: str) -> None:
        """More of the log `namespace/pod/container`, for who follows it too."""
        with self._changed:
            self.logs[key] = self.logs.get(key, "") + text
            self._changed.notify_all()

    def await_watches(self, kind: str, count: int = 1) -> None:
        """Return once at least `count` watches of this kind are open."""

        def are_there() -> bool:
            return sum(each == kind for each, _ in self._feeds) >= count

        with self._changed:
            assert self._changed.wait_for(are_there, 20)

    def hang(self, pattern: str = "") -> None:
        """Accept requests that fit `pattern` and never answer them."""
        self._answers.append(Answer(re.compile(pattern), hangs=True))

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.cluster = self
        if self._authority:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._authority.certificate, self._authority.key)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def url(self) -> str:
        """Where it listens: loopback, a port of its own."""
        scheme = "https" if self._authority else "http"
        return f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def paths(self) -> list[str]:
        """The paths asked for, without their queries."""
        return [path.partition("?")[0] for _, path in self.requests]

    def kubeconfig(self, path: Path, **user: Any) -> Path:
        """Write a kubeconfig for this server to `path`; `user` is what its user section holds."""
        cluster: dict[str, Any] = {"server": self.url}
        if self._authority:
            cluster["certificate-authority"] = str(self._authority.ca)
        if self.token and not user:
            user = {"token": self.token}
        path.write_text(json.dumps(kubeconfig_for(cluster, user)))
        path.chmod(0o600)
        return path

    # What follows is for the handler.

    def _allowed(self, body: bytes) -> bool:
        """Whether what a review asks for is allowed; of protobuf nothing is read."""
        try:
            asked = json.loads(body)["spec"]["resourceAttributes"]
        except (ValueError, KeyError, UnicodeDecodeError):
            return True
        self.reviews.append(asked)
        return self.may(asked)

    def reply(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer:
        with self._lock:
            self.requests.append((method, target))
            self.headers.append(dict(headers))
            self._active += 1
            self.most_at_once = max(self.most_at_once, self._active)
        try:
            return self._reply(method, target, headers, body)
        finally:
            with self._lock:
                self._active -= 1

    def _reply(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        for each in self._answers:
            if each.pattern.search(target):
                if each.hangs:
                    self._closing.wait(30)
                return each
        if self.token and headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized")
        path, _, raw_query = re.sub(r"^https?://[^/]*", "", target).partition("?")
        # As the real one: decoded before it is routed, and not cleaned.
        segments = unquote(path).split("/")[1:]
        upgrades = "upgrade" in headers.get("Connection", "").lower()
        self.reached += danger_of(method, segments, upgrades, raw_query)
        query = {key: values[0] for key, values in parse_qs(raw_query, True).items()}
        if upgrades:
            return Answer(_ANY, status=101)
        if segments[-1:] == [""] and len(segments) > 1:
            segments = segments[:-1]
        if "" in segments or "." in segments or ".." in segments:
            return _status(404, "the server could not find the requested resource")
        path = "/" + "/".join(segments)
        if method == "POST" and segments[-1] in SELF_REVIEWS:
            return _review(segments[-1], self._allowed(body))
        if method not in {"GET", "HEAD"}:
            return _json(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})
        document = discovery(path)
        if document is not None:
            return _json(200, document)
        if segments[0] in {"readyz", "livez", "healthz"}:
            return Answer(_ANY, body=b"ok", headers={"Content-Type": "text/plain"})
        legacy = len(segments) > 2 and "watch" in segments[2:4]
        if legacy:
            segments.remove("watch")
            path, query = "/" + "/".join(segments), {**query, "watch": "1"}
        return self._resource(path, query, headers)

    def _resource(self, path: str, query: dict[str, str], headers: Mapping[str, str]) -> Answer:
        match = _PATH.fullmatch(path)
        if match is not None and match["plural"] == "namespaces" and match["ns"]:
            match = None
        if match is None and (whole := re.fullmatch(r"/api/v1/namespaces/([^/]+)(/status)?", path)):
            return self._one("Namespace", None, whole[1], None)
        kind = PLURALS.get((match["root"], match["plural"])) if match else None
        if match is None or kind is None:
            return _status(404, "the server could not find the requested resource")
        if query.get("watch", "false") not in {"0", "false"}:
            fields = f"metadata.name={match['name']}" if match["name"] else ""
            return self._watch(kind, match["ns"], {"fieldSelector": fields, **query})
        if match["name"] is None:
            return _as_asked(self._list(kind, match["ns"], query), headers)
        if match["part"] == "log" and kind == "Pod":
            return self._log(match["ns"], match["name"], query)
        return _as_asked(self._one(kind, match["ns"], match["name"], match["part"]), headers)

    def _one(self, kind: str, namespace: str | None, name: str, part: str | None) -> Answer:
        found = self._find(kind, namespace, name)
        if found is None or part not in {None, "status", "scale"}:
            return _status(404, f'{kind.lower()}s "{name}" not found')
        if part == "scale":
            spec = {"replicas": found.get("spec", {}).get("replicas", 1)}
            found = {"kind": "Scale", "apiVersion": "autoscaling/v1",
                     "metadata": found["metadata"], "spec": spec}  # fmt: skip
        return _json(200, found)

    def _watch(self, kind: str, namespace: str | None, query: Mapping[str, str]) -> Answer:
        initial = "sendInitialEvents" in query or query.get("resourceVersion", "0") == "0"
        return Answer(_ANY, stream=self._events(kind, namespace, query, initial))

    def _events(
        self, kind: str, namespace: str | None, query: Mapping[str, str], initial: bool
    ) -> Iterator[bytes]:
        ends = time.monotonic() + min(float(query.get("timeoutSeconds", "30")), 30)
        feed: list[Mapping[str, Any]] = []
        if initial:
            fitting = self._fitting(kind, namespace, query)
            feed.extend({"type": "ADDED", "object": each} for each in fitting)
        if "sendInitialEvents" in query:
            note = {"k8s.io/initial-events-end": "true"}
            mark = {"kind": kind, "apiVersion": "v1",
                    "metadata": {"resourceVersion": "1", "annotations": note}}  # fmt: skip
            feed.append({"type": "BOOKMARK", "object": mark})
        entry = (kind, feed)
        with self._changed:
            self._feeds.append(entry)
            self._changed.notify_all()
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(
                        lambda: feed or self._closing.is_set(), max(0.0, ends - time.monotonic())
                    )
                    ready, feed[:] = list(feed), []
                if not ready:
                    return
                for event in ready:
                    if event["type"] == "BOOKMARK" or _is_in(event["object"], namespace, query):
                        yield json.dumps(event).encode() + b"\n"
        finally:
            with self._changed:
                self._feeds.remove(entry)

    def _follow(self, key: str, data: bytes) -> Iterator[bytes]:
        seen = len(self.logs[key].encode())
        yield data
        while new := self._more_log(key, seen):
            seen += len(new)
            yield new

    def _more_log(self, key: str, seen: int) -> bytes:
        """What comes after `seen` bytes, once there is something; nothing when all is over."""
        with self._changed:
            self._changed.wait_for(
                lambda: len(self.logs[key].encode()) > seen or self._closing.is_set(), 30
            )
            return self.logs[key].encode()[seen:]

    def _find(self, kind: str, namespace: str | None, name: str) -> Mapping[str, Any] | None:
        for each in self.objects:
            metadata = each["metadata"]
            place = metadata.get("namespace")
            if (each["kind"], metadata["name"]) == (kind, name) and place == namespace:
                return each
        return None

    def _fitting(
        self, kind: str, namespace: str | None, query: Mapping[str, str]
    ) -> list[Mapping[str, Any]]:
        return [e for e in self.objects if e["kind"] == kind and _is_in(e, namespace, query)]

    def _list(self, kind: str, namespace: str | None, query: Mapping[str, str]) -> Answer:
        found = self._fitting(kind, namespace, query)
        limit = int(query.get("limit", "0")) or len(found)
        metadata = {"resourceVersion": "1"}
        if len(found) > limit:
            metadata["continue"] = "more"
        # As the API does: the items of a list do not say their kind.
        items = [
            {key: value for key, value in each.items() if key not in {"kind", "apiVersion"}}
            for each in found[:limit]
        ]
        body = {
            "kind": f"{kind}List",
            "apiVersion": API_VERSIONS[kind],
            "metadata": metadata,
            "items": items,
        }
        return _json(200, body)

    def _log(self, namespace: str, name: str, query: Mapping[str, str]) -> Answer:
        pod = self._find("Pod", namespace, name)
        if pod is None:
            return _status(404, f'pods "{name}" not found')
        spec = pod["spec"]
        names = [
            each["name"] for key in ("initContainers", "containers") for each in spec.get(key, [])
        ]
        container = query.get("container") or (names[0] if len(names) == 1 else "")
        if not container:
            return _status(400, f"a container name must be specified for pod {name}")
        if container not in names:
            return _status(400, f"container {container} is not valid for pod {name}")
        key = f"{namespace}/{name}/{container}"
        if query.get("previous") == "true":
            key += "/previous"
        if key not in self.logs:
            why = self.no_logs.get(key, f'container "{container}" in pod "{name}" has no log')
            if why.startswith("unable to retrieve"):
                return Answer(_ANY, body=why.encode())
            return _status(400, why)
        lines = self.logs[key].encode().splitlines(keepends=True)
        tail = int(query.get("tailLines", "0"))
        data = b"".join(lines[-tail:] if tail else lines)
        data = data[: int(query.get("limitBytes", "0")) or None]
        if query.get("follow", "false") not in {"0", "false"}:
            return Answer(_ANY, stream=self._follow(key, data))
        return Answer(_ANY, body=data)


def kubeconfig_for(cluster: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    """A kubeconfig with one context, `fake`, as it is parsed."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": dict(cluster)}],
        "users": [{"name": "someone", "user": dict(user)}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "someone"}}],
    }


_ANY = re.compile("")


def _json(status: int, body: Mapping[str, Any]) -> Answer:
    return Answer(_ANY, status, body=json.dumps(body).encode())


def _status(code: int, message: str) -> Answer:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    return _json(code, {**body, "message": message})


def _is_in(each: Mapping[str, Any], namespace: str | None, query: Mapping[str, str]) -> bool:
    return (
        namespace in (None, each["metadata"].get("namespace"))
        and _fits_labels(each, query.get("labelSelector", ""))
        and _fits_fields(each, query.get("fieldSelector", ""))
    )


def reader_may(asked: Mapping[str, Any]) -> bool:
    """What a reader may: get, list and watch, but no Secrets, and no way into a workload."""
    inside = asked.get("subresource") in {"exec", "attach", "portforward", "proxy", "token"}
    reads = asked.get("verb") in {"get", "list", "watch"}
    return reads and not inside and asked.get("resource") != "secrets"


def _review(plural: str, allowed: bool) -> Answer:
    rules = [{"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods"]}]
    group = "authentication.k8s.io/v1" if plural == "selfsubjectreviews" else (
        "authorization.k8s.io/v1"
    )  # fmt: skip
    kinds = {"selfsubjectaccessreviews": "SelfSubjectAccessReview",
             "selfsubjectrulesreviews": "SelfSubjectRulesReview",
             "selfsubjectreviews": "SelfSubjectReview"}  # fmt: skip
    status = {"selfsubjectaccessreviews": {"allowed": allowed, "reason": "a fake says so"},
              "selfsubjectrulesreviews": {"resourceRules": rules, "nonResourceRules": [],
                                          "incomplete": False},
              "selfsubjectreviews": {"userInfo": {"username": "reader", "groups": []}}}  # fmt: skip
    body = {"kind": kinds[plural], "apiVersion": group, "metadata": {}, "spec": {}}
    return _json(201, {**body, "status": status[plural]})


def _as_asked(answer: Answer, headers: Mapping[str, str]) -> Answer:
    """The same as a Table where that is asked for, as kubectl does."""
    if answer.status != 200 or "as=Table" not in headers.get("Accept", ""):
        return answer
    value = json.loads(answer.body or b"{}")
    items = value.get("items", [value])
    names = {"type": "string", "format": "name", "name": "Name", "priority": 0}
    status = {"type": "string", "format": "", "name": "Status", "priority": 0}
    columns = [names, {**status, "format": ""}]
    rows = [
        {
            "cells": [e["metadata"]["name"], str(e.get("status", {}).get("phase", ""))],
            "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
                       "metadata": e["metadata"]},
        }
        for e in items
    ]  # fmt: skip
    table = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"]}
    for each in columns:
        each["description"] = ""
    return _json(200, {**table, "columnDefinitions": columns, "rows": rows})


def _fits_labels(each: Mapping[str, Any], selector: str) -> bool:
    labels = each["metadata"].get("labels") or {}
    for part in re.findall(r"[^,(]+\([^)]*\)|[^,]+", selector):
        if listed := re.fullmatch(r"\s*(\S+) (in|notin) \(([^)]*)\)\s*", part):
            values = {value.strip() for value in listed[3].split(",")}
            if (labels.get(listed[1]) in values) != (listed[2] == "in"):
                return False
        elif "!=" in part:
            key, _, value = part.partition("!=")
            if labels.get(key.strip()) == value.strip():
                return False
        elif "=" in part:
            key, _, value = part.replace("==", "=").partition("=")
            if labels.get(key.strip()) != value.strip():
                return False
        elif part.startswith("!"):
            if part[1:] in labels:
                return False
        elif part not in labels:
            return False
    return True


def _fits_fields(each: Mapping[str, Any], selector: str) -> bool:
    for part in filter(None, selector.split(",")):
        path, _, value = part.replace("==", "=").partition("=")
        found: Any = each
        for key in path.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        if (found or "") != value:
            return False
    return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    cluster: FakeCluster

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or does not like our certificate, is what tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One packet for head and body: two would wait 40 ms for each other.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: _Server

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        answer = self.server.cluster.reply(self.command, self.path, dict(self.headers), body)
        if answer.hangs:
            self.close_connection = True
            return
        if answer.status == 101:
            self.send_response(101)
            self.end_headers()
            self.close_connection = True
            return
        if answer.stream is not None:
            self._stream(answer.stream)
            return
        body = answer.body
        if body is None:
            body = _status(answer.status, answer.message).body or b""
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, pieces: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        try:
            for piece in pieces:
                if piece:
                    self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                    self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        finally:
            pieces.close()  # type: ignore[attr-defined]

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests read `requests`."""
