"""Reading Server-Sent Events as a browser does."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import anyio
import httpx2


@dataclass(frozen=True, kw_only=True)
class Told:
    """One event as it came."""

    id: str
    kind: str
    data: dict[str, Any]


async def told(response: httpx2.Response) -> AsyncIterator[Told]:
    """The events of an open stream, until it ends."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield Told(id=fields["id"], kind=fields["event"], data=json.loads(fields["data"]))
            fields = {}
        else:
            fields = {}


async def all_told(
    client: httpx2.AsyncClient, url: str, after: str | None = None, most: int = 10_000
) -> list[Told]:
    """The events of `url` after the one of that id: all until the end, or the first `most`."""
    headers = {} if after is None else {"Last-Event-ID": after}
    found: list[Told] = []
    with anyio.fail_after(60):
        async with client.stream("GET", url, headers=headers, timeout=60) as response:
            if response.status_code == 204:
                return []
            assert response.status_code == 200, await response.aread()
            async for each in told(response):
                found.append(each)
                if len(found) == most:
                    break
    return found
