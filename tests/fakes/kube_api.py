"""A Kubernetes API server for tests: serves recorded objects, events and logs, and misbehaves.

    with FakeCluster(recorded("crashloop")) as cluster:
        path = cluster.kubeconfig(tmp_path / "kubeconfig")
        ...
        assert {method for method, _ in cluster.requests} == {"GET"}

It answers as a real one does: discovery, objects, lists with label and field selectors and `limit`,
Tables, watches, logs of pods with `container`, `previous`, `tailLines`, `limitBytes` and `follow`,
the self reviews, `Status` objects for errors. It has Secrets too if it is given some, and it does
what it is asked for where a real one would write, run or proxy: `reached` tells of it, so that a
test can prove that nobody asks.
"""

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from fakes.kube_answers import (
    ANY,
    Answer,
    asked_by,
    json_answer,
    reader_may,
    review_answer,
    status_answer,
    table,
)
from fakes.kube_authority import Authority, kubeconfig_for
from fakes.kube_discovery import discovery
from fakes.kube_http import Handler, Server
from fakes.kube_recorded import DATA, recorded
from fakes.kube_route import Route, danger_of, is_self_review, route_of, target_of, upgrades
from fakes.kube_select import is_in
from fakes.kube_watch import Changes, bookmark, line
from kubecase.clusters.kinds import KINDS
from kubecase.core.model import Collection

__all__ = ["DATA", "Answer", "Authority", "FakeCluster", "kubeconfig_for", "reader_may", "recorded"]

PLURALS = {(each.root, each.plural): each.kind for each in KINDS}
PLURALS["/api/v1", "secrets"] = "Secret"
PLURALS["/apis/metrics.k8s.io/v1beta1", "pods"] = "PodMetrics"
PLURALS["/apis/metrics.k8s.io/v1beta1", "nodes"] = "NodeMetrics"
API_VERSIONS = {
    kind: root.removeprefix("/apis/").removeprefix("/api/") for (root, _), kind in PLURALS.items()
}
# Subresources that answer a GET with the object itself, and those that have no GET.
_OBJECTS = {None, "status", "scale", "ephemeralcontainers", "resize"}
_NO_GET = {"token", "eviction", "binding"}
_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}
_NOT_FOUND = "the server could not find the requested resource"


class FakeCluster:
    """The server, alive inside a `with` block. `requests` is method and path of all it was asked.

    With `token` every request needs it. With `authority` it speaks TLS. `reached` has a word for
    each door that a request came to and no reader may: write, review, secret, exec, proxy, upgrade,
    token, debug. `may` decides what an access review is told; its argument and those kept in
    `reviews` are `resourceAttributes`.
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
        self._changes = Changes()
        self._authority = authority
        self._answers: list[Answer] = []
        self._active = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def answer(self, pattern: str, status: int, message: str = "", **more: Any) -> None:
        """Answer requests that fit `pattern` with `status`; `more` is a `body` and `headers`."""
        self._answers.append(Answer(re.compile(pattern), status, message=message, **more))

    def emit(self, change: str, each: Mapping[str, Any]) -> None:
        """Let an object be ADDED, MODIFIED or DELETED, and tell all watches of it."""
        with self._changes.happened:
            before = self._find(
                each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]
            )
            kept = [] if change == "DELETED" else [each]
            self.objects = [known for known in self.objects if known is not before] + kept
            self._changes.add(change, each)

    def add_log(self, key: str, text: str) -> None:
        """More of the log `namespace/pod/container`, for who follows it too."""
        with self._changes.happened:
            self.logs[key] = self.logs.get(key, "") + text
            self._changes.happened.notify_all()

    def end_log(self, key: str) -> None:
        """End the log `namespace/pod/container`, as when its container has ended."""
        self._changes.end_log(key)

    def await_watches(self, kind: str, count: int = 1) -> None:
        """Return once at least `count` watches of this kind are open."""
        assert self._changes.await_watches(kind, count, 20)

    def hang(self, pattern: str = "") -> None:
        """Accept requests that fit `pattern` and never answer them."""
        self._answers.append(Answer(re.compile(pattern), hangs=True))

    def __enter__(self) -> Self:
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.reply = self.reply
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
        self._changes.close()
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

    def reply(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer:
        """The answer to a request; it is kept in `requests` and `headers`."""
        with self._lock:
            self.requests.append((method, target))
            self.headers.append(dict(headers))
            self._active += 1
            self.most_at_once = max(self.most_at_once, self._active)
        try:
            lower = {name.lower(): value for name, value in headers.items()}
            return self._reply(method, target, lower, body)
        except _BadQuery as error:
            return status_answer(400, str(error))
        finally:
            with self._lock:
                self._active -= 1

    def _reply(self, method: str, raw: str, headers: Mapping[str, str], body: bytes) -> Answer:
        target = target_of(raw)
        # Before anything may answer: whoever comes to a door has come to it.
        self.reached += danger_of(method, target, headers)
        for each in self._answers:
            if each.pattern.search(raw):
                if each.hangs:
                    self._closing.wait(30)
                return each
        if self.token and headers.get("authorization") != f"Bearer {self.token}":
            return status_answer(401, "Unauthorized")
        if upgrades(headers):
            return Answer(ANY, status=101)
        if target.segments is None:
            return status_answer(400, "this is no path")
        if not target.is_clean:
            return status_answer(404, _NOT_FOUND)
        if is_self_review(method, target):
            return review_answer(target.segments[-1], self._is_allowed(body))
        if method not in _METHODS:
            return status_answer(405, "the server does not allow this method on the resource")
        if method != "GET":
            return json_answer(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})
        return self._get(target.path, target.segments, target.query, headers)

    def _get(
        self,
        path: str,
        segments: Sequence[str],
        query: Mapping[str, str],
        headers: Mapping[str, str],
    ) -> Answer:
        document = discovery(path)
        if document is not None:
            return json_answer(200, document)
        if segments and segments[0] in {"readyz", "livez", "healthz"}:
            return Answer(ANY, body=b"ok", headers={"Content-Type": "text/plain"})
        route = route_of(segments)
        kind = PLURALS.get((route.root, route.plural)) if route else None
        if route is None or kind is None or route.rest:
            return status_answer(404, _NOT_FOUND)
        included = query.get("includeObject", "Metadata")
        tables = included if "as=Table" in headers.get("accept", "") else None
        watches = route.watch or query.get("watch", "false") not in {"0", "false"}
        if watches and route.part is None:
            return self._watch(kind, route, query, tables)
        if route.name is None:
            return self._list(kind, route.namespace, query, tables)
        if route.part == "log" and kind == "Pod":
            return self._log(route.namespace or "", route.name, query)
        return self._one(kind, route, tables)

    def _is_allowed(self, body: bytes) -> bool:
        """Whether what a review asks for is allowed; what cannot be read is not."""
        asked = asked_by(body)
        if asked is None:
            return False
        self.reviews.append(asked)
        return self.may(asked)

    def _one(self, kind: str, route: Route, tables: str | None) -> Answer:
        found = self._find(kind, route.namespace, route.name or "")
        if route.part in _NO_GET:
            return status_answer(405, "the server does not allow this method on the resource")
        if found is None or route.part not in _OBJECTS:
            return status_answer(404, f'{kind.lower()}s "{route.name}" not found')
        if route.part == "scale":
            spec = {"replicas": found.get("spec", {}).get("replicas", 1)}
            found = {"kind": "Scale", "apiVersion": "autoscaling/v1",
                     "metadata": found["metadata"], "spec": spec}  # fmt: skip
        if tables is not None:
            found = table(kind, [found], found["metadata"], tables)
        return json_answer(200, found)

    def _watch(
        self, kind: str, route: Route, query: Mapping[str, str], tables: str | None
    ) -> Answer:
        seconds = _number(query, "timeoutSeconds")
        chosen = dict(query)
        if route.name:
            chosen.setdefault("fieldSelector", f"metadata.name={route.name}")
        return Answer(ANY, stream=self._lines(kind, route.namespace, chosen, seconds, tables))

    def _lines(
        self,
        kind: str,
        namespace: str | None,
        query: Mapping[str, str],
        seconds: int,
        tables: str | None,
    ) -> Iterator[bytes]:
        version = query.get("resourceVersion", "")
        marked = query.get("sendInitialEvents", "false") not in {"0", "false"}
        since = int(version) if version.isdigit() and version != "0" else None

        def initial() -> list[Mapping[str, Any]]:
            if since is not None and not marked:
                return []
            there = self._fitting(kind, namespace, query)
            mark = bookmark(kind, API_VERSIONS[kind], self._changes.version)
            return [{"type": "ADDED", "object": each} for each in there] + [mark] * marked

        events = self._changes.watch(
            kind, initial=initial, since=None if marked else since, seconds=seconds or None,
            fits=lambda each: is_in(each, namespace, query),
        )  # fmt: skip
        for event in events:
            if event and tables is not None and event["type"] != "BOOKMARK":
                each = event["object"]
                shown = table(kind, [each], {}, tables)
                yield line({"type": event["type"], "object": shown})
            else:
                yield line(event)

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
        return [e for e in self.objects if e["kind"] == kind and is_in(e, namespace, query)]

    def _list(
        self, kind: str, namespace: str | None, query: Mapping[str, str], tables: str | None
    ) -> Answer:
        with self._changes.happened:
            found = self._fitting(kind, namespace, query)
            metadata = {"resourceVersion": str(self._changes.version)}
        begin = _number(query, "continue")
        end = begin + (_number(query, "limit") or len(found))
        if len(found) > end:
            metadata["continue"] = str(end)
        if tables is not None:
            return json_answer(200, table(kind, found[begin:end], metadata, tables))
        # As the API does: the items of a list do not say their kind.
        items = [
            {key: value for key, value in each.items() if key not in {"kind", "apiVersion"}}
            for each in found[begin:end]
        ]
        head = {"kind": f"{kind}List", "apiVersion": API_VERSIONS[kind], "metadata": metadata}
        return json_answer(200, {**head, "items": items})

    def _log(self, namespace: str, name: str, query: Mapping[str, str]) -> Answer:
        pod = self._find("Pod", namespace, name)
        if pod is None:
            return status_answer(404, f'pods "{name}" not found')
        spec = pod["spec"]
        names = [
            each["name"] for key in ("initContainers", "containers") for each in spec.get(key, [])
        ]
        container = query.get("container") or (names[0] if len(names) == 1 else "")
        if not container:
            return status_answer(400, f"a container name must be specified for pod {name}")
        if container not in names:
            return status_answer(400, f"container {container} is not valid for pod {name}")
        key = f"{namespace}/{name}/{container}"
        if query.get("previous") == "true":
            key += "/previous"
        if key not in self.logs:
            why = self.no_logs.get(key, f'container "{container}" in pod "{name}" has no log')
            if why.startswith("unable to retrieve"):
                return Answer(ANY, body=why.encode())
            return status_answer(400, why)
        whole = self.logs[key].encode()
        lines = whole.splitlines(keepends=True)
        tail = _number(query, "tailLines", len(lines))
        data = b"".join(lines[max(0, len(lines) - tail) :])
        limit = _number(query, "limitBytes")
        if query.get("follow", "false") not in {"0", "false"}:
            return Answer(
                ANY, stream=self._followed(key, data, len(whole), limit),
                headers={"Content-Type": "text/plain"},
            )  # fmt: skip
        return Answer(ANY, body=data[: limit or None])

    def _followed(self, key: str, data: bytes, seen: int, limit: int) -> Iterator[bytes]:
        left = limit or None
        yield data[:left]
        left = None if left is None else left - len(data)
        for piece in self._changes.follow(key, self.logs, seen):
            if left is not None and left <= 0:
                return
            yield piece[:left]
            left = None if left is None else left - len(piece)


class _BadQuery(Exception):
    """A parameter of a query is no number; the API answers 400."""


def _number(query: Mapping[str, str], key: str, otherwise: int = 0) -> int:
    text = query.get(key, "")
    if text and not text.isdigit():
        raise _BadQuery(f"{key} is no number")
    return int(text) if text else otherwise
