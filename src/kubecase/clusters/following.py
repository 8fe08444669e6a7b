"""Lists page by page, and watches line by line: what a source needs of a cluster, GET only."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from kubecase.clusters.client import ApiFailure, ClusterClient
from kubecase.clusters.kinds import Kind
from kubecase.clusters.untrusted import Unreadable, decode, parse_json
from kubecase.core.errors import ClusterUnavailable

MAX_LINE = 1024 * 1024
"""The longest line of a watch that is read; an object of a cluster is at most 1.5 MiB, an Event
some kilobytes."""

PAGE = 500
MOST_PAGES = 200


class Expired(Exception):
    """The cluster has forgotten what came after this version: list again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some objects of a list, the version that a watch can go on from, and where the rest is."""

    items: tuple[Mapping[str, Any], ...]
    version: str
    rest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """One notification of a watch: `ADDED`, `MODIFIED`, `DELETED` or `BOOKMARK`, and the object."""

    type: str
    object: Mapping[str, Any]

    @property
    def version(self) -> str | None:
        """The version that a watch can go on from after this."""
        found = self.object.get("metadata")
        version = found.get("resourceVersion") if isinstance(found, Mapping) else None
        return version if isinstance(version, str) and len(version) <= 64 else None


async def pages(
    client: ClusterClient, kind: Kind, namespace: str | None, *, fields: str = ""
) -> AsyncIterator[Page]:
    """All objects of `kind`, page by page. Raises ApiFailure, and Expired if it took too long."""
    rest: str | None = None
    for _ in range(MOST_PAGES):
        query = {"limit": str(PAGE), "fieldSelector": fields, "continue": rest or ""}
        try:
            found = await client.read(kind, namespace, {k: v for k, v in query.items() if v})
        except ApiFailure as error:
            if error.status == 410:
                raise Expired from None
            raise
        page = _page(found)
        yield page
        rest = page.rest
        if rest is None:
            return
    raise ApiFailure(f"a list of more than {MOST_PAGES * PAGE} objects")


def _page(found: Mapping[str, Any]) -> Page:
    items, metadata = found.get("items"), found.get("metadata")
    if not isinstance(items, list) or not isinstance(metadata, Mapping):
        raise ApiFailure("the answer is not a list")
    rest, version = metadata.get("continue"), metadata.get("resourceVersion")
    return Page(
        items=tuple(each for each in items if isinstance(each, Mapping)),
        version=version if isinstance(version, str) else "",
        rest=rest if isinstance(rest, str) and rest else None,
    )


async def changes(
    client: ClusterClient,
    kind: Kind,
    namespace: str | None,
    *,
    fields: str,
    since: str,
    seconds: int,
    idle: float,
) -> AsyncIterator[Changed]:
    """What changed after version `since`, for about `seconds`; ends when the cluster ends it.

    A silence of `idle` seconds ends it too: a half-open connection says nothing for ever. Raises
    Expired for both ways in which a cluster says 410, and ApiFailure.
    """
    query = {
        "watch": "true", "allowWatchBookmarks": "true", "resourceVersion": since,
        "timeoutSeconds": str(seconds), "fieldSelector": fields,
    }  # fmt: skip
    async with _opened(client, kind, namespace, query, idle) as response:
        async for line in _lines(response):
            change = _change(line)
            if change is not None:
                yield change


@asynccontextmanager
async def _opened(
    client: ClusterClient,
    kind: Kind,
    namespace: str | None,
    query: Mapping[str, str],
    idle: float,
) -> AsyncIterator[httpx2.Response]:
    try:
        async with client.stream(kind, namespace, query, idle=idle) as response:
            yield response
    except ApiFailure as error:
        if error.status == 410:
            raise Expired from None
        raise
    except (httpx2.HTTPError, ClusterUnavailable) as error:
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise ApiFailure(f"the watch broke: {words}", unreachable=True) from None


async def _lines(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The lines of a stream, none longer than a bound; ends in silence too."""
    rest = bytearray()
    try:
        async for chunk in response.aiter_raw():
            rest += chunk
            *lines, tail = bytes(rest).split(b"\n")
            for line in lines:
                if line.strip():
                    yield line
            rest = bytearray(tail)
            if len(rest) > MAX_LINE:
                raise ApiFailure(f"a line of the watch is longer than {MAX_LINE} bytes")
    except httpx2.ReadTimeout:
        return


def _change(line: bytes) -> Changed | None:
    """What one line says; None for what makes no sense, which costs nothing but itself."""
    try:
        found = parse_json(decode(line)[0])
    except Unreadable:
        return None
    if not isinstance(found, Mapping) or not isinstance(found.get("object"), Mapping):
        return None
    word, value = found.get("type"), found["object"]
    if word == "ERROR":
        if value.get("code") == 410 or value.get("reason") in {"Expired", "Gone"}:
            raise Expired
        raise ApiFailure(f"the watch says: {str(value.get('message'))[:200]}")
    if word not in {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"}:
        return None
    return Changed(type=str(word), object=value)
