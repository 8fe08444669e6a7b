"""Servers of models and budgets in the settings: each key goes only where it was told to go."""

from pathlib import Path

import pytest

from kubecase.app.settings import load
from kubecase.app.settings.effective import effective
from kubecase.app.settings.values import BudgetOptions, Settings
from kubecase.core.errors import SettingsInvalid

HOME = {"HOME": "/home/someone"}
KEY = "sk-made-up-0123456789"


def loaded(tmp_path: Path, text: str, **environ: str) -> tuple[Settings, tuple[str, ...]]:
    (tmp_path / "kubecase.yaml").write_text(text)
    (tmp_path / "kubecase.yaml").chmod(0o600)
    found = load({}, {**HOME, **environ}, None, tmp_path)
    assert KEY not in repr(found)
    assert all(KEY not in row.value for row in effective(found))
    return found.settings, found.warnings


def key_of(settings: Settings, name: str) -> str | None:
    key = settings.models[name].key
    return None if key is None else key.value


def test_the_vendors_own_address_is_given_the_vendors_key(tmp_path: Path) -> None:
    """Without a base URL the key of `agent_runtime` is used, each for its own vendor."""
    settings, _ = loaded(
        tmp_path, "models: {a: {protocol: anthropic}, o: {protocol: openai}}",
        ANTHROPIC_API_KEY=KEY,
    )  # fmt: skip

    assert (key_of(settings, "a"), key_of(settings, "o")) == (KEY, None)


def test_another_address_is_given_no_key_unless_told(tmp_path: Path) -> None:
    """A local model, or a proxy, never receives a vendor's key by accident."""
    text = "models: {ollama: {protocol: openai, base_url: 'http://127.0.0.1:11434/v1'}}"
    settings, warnings = loaded(tmp_path, text, OPENAI_API_KEY=KEY)

    assert key_of(settings, "ollama") is None
    assert warnings == ()


def test_a_key_comes_from_the_named_variable_or_file(tmp_path: Path) -> None:
    """A company proxy gets the key of a variable or of a file, and both count as secrets."""
    (tmp_path / "key").write_text(KEY + "\n")
    (tmp_path / "key").chmod(0o600)
    text = """
models:
  byenv: {protocol: openai, base_url: 'https://llm.example.com', key_env: CORP_KEY, auth: api-key}
  byfile: {protocol: gemini, base_url: 'https://llm.example.com', key_file: key, ca: ca.pem}
"""
    settings, _ = loaded(tmp_path, text, CORP_KEY=KEY)

    assert (key_of(settings, "byenv"), key_of(settings, "byfile")) == (KEY, KEY)
    assert settings.models["byfile"].ca == tmp_path / "ca.pem"
    assert settings.models["byenv"].auth == "api-key"
    assert settings.secrets.count(KEY) == 2


def test_a_key_without_encryption_is_warned_of(tmp_path: Path) -> None:
    """A key that would cross a network in plain text is warned of, on loopback it is not."""
    text = """
models:
  near: {protocol: openai, base_url: 'http://127.0.0.1:4000', key_env: CORP_KEY}
  far: {protocol: openai, base_url: 'http://litellm.svc:4000', key_env: CORP_KEY}
"""
    _, warnings = loaded(tmp_path, text, CORP_KEY=KEY)

    assert warnings == ("models.far sends its key to litellm.svc without encryption",)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("protocol: telnet", "is not one of anthropic, openai, gemini"),
        ("base_url: 'https://x.example.com'", "models.m.protocol - is missing"),
        ("protocol: openai, key_env: ABSENT", "ABSENT of key_env holds no key"),
        ("protocol: openai, key_env: A B", "is not the name of a variable"),
        ("protocol: openai, key_env: HOME, key_file: x", "two keys"),
        ("protocol: openai, key_file: absent", "cannot read"),
        ("protocol: openai, auth: none, key_env: HOME", "`auth: none`"),
        ("protocol: openai, base_url: 'ftp://x'", "must be an address"),
        ("protocol: openai, proxy: 'http://u:p@x'", "must not hold a user name"),
        ("protocol: openai, allowed_models: ['a b']", "is not a pattern of model names"),
        ("protocol: openai, key: sk-123", "unknown key"),
    ],
)
def test_what_is_wrong_with_an_entry_is_told(entry: str, says: str, tmp_path: Path) -> None:
    """Every mistake in an entry is told with its place, and no key is quoted."""
    with pytest.raises(SettingsInvalid) as caught:
        loaded(tmp_path, f"models: {{m: {{{entry}}}}}")

    assert says in str(caught.value)
    assert "models.m" in str(caught.value)
    assert "sk-123" not in str(caught.value)


def test_budgets_are_for_runs_clusters_and_days(tmp_path: Path) -> None:
    """Budgets come from the file or from variables, and only for the three that there are."""
    settings, _ = loaded(
        tmp_path, "budgets: {run: {max_cost_usd: 2.5, max_requests: 100}}",
        KUBECASE_BUDGETS__DAY__MAX_INPUT_TOKENS="5000000",
    )  # fmt: skip

    assert settings.budgets == {
        "run": BudgetOptions(max_cost_usd=2.5, max_requests=100),
        "day": BudgetOptions(max_input_tokens=5_000_000),
    }
    for text in ("budgets: {week: {max_requests: 1}}", "budgets: {run: {max_requests: 0}}"):
        with pytest.raises(SettingsInvalid):
            loaded(tmp_path, text)
