"""The API held against its own document by requests that nobody thought of."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.config import SchemathesisConfig

from fakes.incidents import FINDINGS, an_incident
from fakes.web_rig import FAULT, Recorder, WebRig, a_web
from kubecase.app.web.application import document_text
from kubecase.core.model import Status
from kubecase.core.report import report_as_json
from kubecase.workspace import keep_files

EXAMPLES = 25

# One service, and its record at the end.
pytestmark = pytest.mark.xdist_group("web_contract")


class Service:
    """The API on a socket, in a thread of its own: the requests come from a blocking client."""

    def __init__(self, data_dir: Path) -> None:
        self.url = ""
        self.observer = Recorder()
        self._dir = data_dir
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: anyio.run(self._serve))

    def __enter__(self) -> "Service":
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._thread.join(60)

    async def _serve(self) -> None:
        stop = anyio.Event()
        async with (
            a_web(self._dir, requests_per_second="100000", burst="100000") as web,
            anyio.from_thread.BlockingPortal() as portal,
        ):
            self._stop = lambda: portal.call(stop.set)
            await some_incident(web)
            self.url, self.observer = web.url, web.observer
            self._ready.set()
            await stop.wait()


async def some_incident(web: WebRig) -> None:
    """One that has everything, so that what follows an id is reached as well."""
    await web.post("/api/v1/faults", dict(FAULT))
    attempt = await web.store.begin(an_incident(), agent="builtin")
    for step in (Status.STARTING, Status.RUNNING):
        attempt = await web.store.move(attempt, step)
    await web.store.save_report(attempt, report_as_json(FINDINGS), None)
    attempt = await web.store.move(attempt, Status.SUCCESS)
    kept = web.settings.store.data_dir / "artifacts" / attempt.key
    keep_files(kept, {f"final-report.{kind}": b"{}" for kind in ("md", "html", "json")})


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("contract")) as running:
        yield running


def document() -> dict[str, Any]:
    """The document as it is published, with the id of an incident that is there as an example."""
    found: dict[str, Any] = json.loads(document_text())
    for path in found["paths"].values():
        for operation in path.values():
            for each in operation.get("parameters", ()):
                if each["name"] == "id":
                    each["schema"] = {
                        "anyOf": [{"const": str(an_incident().id)}, each["schema"]],
                    }
    return found


CONFIG = SchemathesisConfig.from_dict({"seed": 20260102})
SCHEMA = schemathesis.openapi.from_dict(document(), config=CONFIG)


@SCHEMA.parametrize()
@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_no_request_of_the_document_or_against_it_breaks_anything(
    case: Case[Any], service: Service
) -> None:
    """Whatever fits the document, or does not, is answered as it says, and never by a 5xx."""
    case.call_and_validate(
        base_url=service.url,
        timeout=20,
        excluded_checks=[
            # A body that is refused may still fit: a schema cannot say which labels name an object.
            schemathesis.checks.CHECKS.get_one("positive_data_acceptance"),
            # This service is asked from a loopback address, where no token is needed.
            schemathesis.checks.CHECKS.get_one("ignored_auth"),
        ],
    )


def test_nothing_went_wrong_meanwhile(service: Service) -> None:
    """After all of that the record of the service holds no answer that was a bug."""
    seen = service.observer.of("http_request")

    assert len(seen) > EXAMPLES
    assert [each for each in seen if each["status"] >= 500] == []
