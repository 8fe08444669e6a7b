"""From the settings to the model gateway, and what doctor says of models."""

from pathlib import Path

import pytest

from kubecase.app.model_access import (
    budget_from,
    model_findings,
    prices_from,
    upstream_from,
    vendor_upstream,
)
from kubecase.app.settings import Settings, load
from kubecase.gateways.budget import Budget
from kubecase.gateways.prices import shipped_prices

KEY = "sk-ant-api03-made-up-0123456789"
TEXT = """
models:
  vendor: {protocol: anthropic}
  azure: {protocol: openai, base_url: 'https://x.example.com/openai/v1', key_env: K, auth: api-key}
  litellm: {protocol: anthropic, base_url: 'https://l.example.com', key_env: K, auth: bearer}
  ollama: {protocol: openai, base_url: 'http://127.0.0.1:11434/v1', prices: free.toml}
budgets: {run: {max_cost_usd: 2}}
"""


def settings(tmp_path: Path, text: str = TEXT, **environ: str) -> Settings:
    (tmp_path / "kubecase.yaml").write_text(text)
    (tmp_path / "free.toml").write_text('[models."*"]\ninput = 0\noutput = 0\n')
    given = {"HOME": str(tmp_path), "ANTHROPIC_API_KEY": KEY, "K": "k-123456", **environ}
    return load({}, given, None, tmp_path).settings


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("vendor", {"x-api-key": KEY}),
        ("azure", {"api-key": "k-123456"}),
        ("litellm", {"authorization": "Bearer k-123456"}),
        ("ollama", {}),
    ],
)
def test_every_upstream_gets_its_key_in_its_own_way(
    name: str, headers: dict[str, str], tmp_path: Path
) -> None:
    """Vendor, company proxy, LiteLLM and Ollama each get the header that the settings say."""
    made = upstream_from(name, settings(tmp_path).models[name])

    assert made.key_headers() == headers
    assert "k-123456" not in repr(made)
    assert KEY not in repr(made)


def test_without_a_choice_it_is_the_vendor(tmp_path: Path) -> None:
    """Whoever configures nothing but a key is served by the vendor of the agent."""
    made = vendor_upstream("claude", settings(tmp_path, "{}"))

    assert (made.protocol, made.base_url, made.key) == ("anthropic", None, KEY)
    assert vendor_upstream("codex", settings(tmp_path, "{}")).key is None


def test_budgets_and_prices_come_from_the_settings(tmp_path: Path) -> None:
    """What was not limited has no limit; an own table makes a local model free."""
    found = settings(tmp_path)

    assert budget_from(found, "run") == Budget(max_cost_usd=2)
    assert budget_from(found, "day") == Budget()
    free = prices_from(found.models["ollama"]).of("llama3.3:70b")
    assert free is not None
    assert free.output == 0
    assert prices_from(None) == shipped_prices()


def test_doctor_names_upstreams_and_log_ins_that_cannot_be_carried(tmp_path: Path) -> None:
    """Doctor shows every upstream, what is wrong with one, and each subscription with a remedy."""
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex" / "auth.json").write_text("{}")
    text = f"{TEXT}\n".replace("vendor: {", "broken: {ca: absent.pem, ")
    found = settings(
        tmp_path, text, CLAUDE_CODE_OAUTH_TOKEN="sk-ant-oat01-x", ANTHROPIC_API_KEY="sk-ant-oat01-x"
    )

    findings = {finding.what: finding for finding in model_findings(found)}
    notes = [f.says for f in model_findings(found) if f.what == "model log-in"]

    assert findings["model broken"].state == "missing"
    assert "models.broken.ca" in findings["model broken"].says
    assert findings["model ollama"].says.endswith("without a key")
    assert [note.split()[0] for note in notes] == ["claude", "claude", "codex"]
    assert all("model_gateway: false" in note and "sk-ant" not in note for note in notes)
