"""The OpenAPI document says what the API does: written down, served, and held against it."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from fakes.web_rig import FAULT, a_web
from kubecase.app.web.application import document_text

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent.parent


async def test_the_document_on_file_is_the_one_that_is_served(tmp_path: Path) -> None:
    """`docs/openapi.json` is what the routes say, and so is what a service gives out."""
    async with a_web(tmp_path) as web:
        served = (await web.get("/api/v1/openapi.json")).json()

    written = (ROOT / "docs" / "openapi.json").read_text(encoding="utf-8")
    assert written == document_text(), (
        "run: python -m kubecase.app.web.application docs/openapi.json"
    )
    assert json.loads(written) == served
    assert served["openapi"].startswith("3.1")


def test_the_document_has_the_schema_of_a_fault() -> None:
    """Whoever reads the document alone can tell a fault from what is none."""
    schemas = json.loads(document_text())["components"]["schemas"]
    fault = Draft202012Validator(schemas["Fault"])

    assert fault.is_valid(FAULT)
    assert not fault.is_valid({**FAULT, "severity": 3})
    assert not fault.is_valid({"namespace": "shop"})


def test_every_address_is_in_the_guide() -> None:
    """docs/api.md names every address of the document."""
    guide = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")

    for path in json.loads(document_text())["paths"]:
        name = path.replace("{id}", "ID").replace("{attempt}", "N").replace("{path}", "PATH")
        known = [name, name.replace(".{kind}", ".md"), name.replace("/api/v1/incidents/ID", "")]
        assert any(f"{each}`" in guide for each in known), path
