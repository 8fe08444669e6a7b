"""Model keys: where they may come from, and that nobody ever sees one."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from kubecase.app.settings import Loaded, effective, load
from kubecase.core.errors import SettingsInvalid

CANARY = "sk-canary-0123456789"
HOME = {"HOME": "/home/somebody"}


def loaded(directory: Path, text: str = "", environ: Mapping[str, str] | None = None) -> Loaded:
    file = directory / "kubecase.yaml"
    file.write_text(text)
    file.chmod(0o600)
    return load({}, {**HOME, **(environ or {})}, None, directory)


def key_file(directory: Path, content: str = CANARY + "\n", mode: int = 0o600) -> Path:
    path = directory / "key"
    path.write_text(content)
    path.chmod(mode)
    return path


def row(loaded: Loaded, key: str) -> tuple[str, str]:
    found = {each.key: (each.value, each.origin) for each in effective(loaded)}
    return found[f"agent_runtime.{key}"]


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("ANTHROPIC_API_KEY", "ANTHROPIC_API_KEY"),
        ("CLAUDE_API_KEY", "ANTHROPIC_API_KEY"),
        ("OPENAI_API_KEY", "OPENAI_API_KEY"),
        ("GEMINI_API_KEY", "GEMINI_API_KEY"),
        ("GOOGLE_API_KEY", "GEMINI_API_KEY"),
    ],
)
def test_each_key_is_found_by_each_of_its_names(tmp_path: Path, name: str, variable: str) -> None:
    """Either name sets the key, and only where it came from is shown (req 5.7, 2.1)."""
    found = loaded(tmp_path, environ={name: f" {CANARY}\n"})

    assert {key: each.value for key, each in found.settings.model_keys.items()} == {
        variable: CANARY
    }
    assert row(found, variable.lower()) == (f"set (from {name})", f"environment {name}")
    assert found.settings.secrets == (CANARY,)


def test_a_key_is_in_no_text_that_settings_make(tmp_path: Path) -> None:
    """Neither representations, rows, warnings nor origins hold a key or a database password."""
    found = loaded(
        tmp_path,
        f"agent_runtime: {{openai_api_key: {CANARY}-a}}\n"
        f"store: {{url: 'postgresql://u:{CANARY}%40b@db/kubecase'}}\n",
        {"ANTHROPIC_API_KEY": f"{CANARY}-c", "CLAUDE_API_KEY": f"{CANARY}-d"},
    )

    texts = [repr(found), str(found.settings.model_keys), repr(effective(found)), *found.warnings]
    assert [text for text in texts if CANARY in text] == []
    assert set(found.settings.secrets) == {
        f"{CANARY}-a", f"{CANARY}-c", f"{CANARY}%40b", f"{CANARY}@b"
    }  # fmt: skip
    assert {each.key: each.value for each in effective(found)}["store.url"] == (
        "postgresql://u:***@db/kubecase"
    )
    assert found.warnings == (
        "ANTHROPIC_API_KEY and CLAUDE_API_KEY differ; ANTHROPIC_API_KEY is used",
    )


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        ("agent_runtime: {anthropic_api_kye: sk-canary-0123456789}", {}),
        ("sk-canary-0123456789: 1", {"HOME": ""}),
        ("agent_runtime: {anthropic_api_key: [sk-canary-0123456789]}", {}),
        ("agent_runtime: {anthropic_api_key: 'sk-canary-0123456789 x'}", {}),
        ("agent_runtime: {anthropic_api_key: sk-canary-0123456789é}", {}),
        ("store: {url: 'mysql://u:sk-canary-0123456789@db'}", {}),
        ("store: {url: 'postgresql://u:sk-canary-0123456789@[db'}", {}),
        ("agents: {claude: {base_url: 'https://u:sk-canary-0123456789@host'}}", {}),
        ("agents: {claude: {base_url: 'https://sk-canary-0123456789@[h'}}", {}),
        ("", {"OPENAI_API_KEY": "sk-canary-0123456789 and more"}),
    ],
)
def test_a_key_in_a_mistake_is_not_repeated(
    tmp_path: Path, text: str, environ: Mapping[str, str]
) -> None:
    """What is said of a mistake never quotes the value that may be a key."""
    with pytest.raises(SettingsInvalid) as refused:
        loaded(tmp_path, text, environ)

    told = str(refused.value).replace("unknown section", "")
    values = told if not text.startswith("sk-") else told.replace(f" {CANARY} - ", "")
    assert CANARY not in values


def test_a_key_may_lie_in_a_file_of_its_own(tmp_path: Path) -> None:
    """The file's content is the key; its path, not its content, is shown (req 5.7)."""
    (tmp_path / "mounted").symlink_to(key_file(tmp_path))

    found = loaded(tmp_path, "agent_runtime:\n  anthropic_api_key_file: mounted\n")

    assert found.settings.model_keys["ANTHROPIC_API_KEY"].value == CANARY
    assert found.warnings == ()
    shown, _ = row(found, "anthropic_api_key")
    assert shown == (
        f"set (from agent_runtime.anthropic_api_key_file of {tmp_path}/kubecase.yaml:2)"
    )


def test_a_key_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    """A world-readable key file, or settings file with a key in it, is told of."""
    key_file(tmp_path, mode=0o644)
    by_file = loaded(tmp_path, "agent_runtime: {openai_api_key_file: key}")
    (tmp_path / "kubecase.yaml").write_text(f"agent_runtime: {{openai_api_key: {CANARY}}}")
    (tmp_path / "kubecase.yaml").chmod(0o644)
    in_settings = load({}, HOME, None, tmp_path)

    assert by_file.warnings == (
        f"{tmp_path}/key holds a key and can be read by every user (chmod o-r)",
    )
    assert in_settings.warnings == (
        f"{tmp_path}/kubecase.yaml holds a key and can be read by every user (chmod o-r)",
    )


def test_the_environment_beats_a_key_file(tmp_path: Path) -> None:
    """A key in the environment comes before one that the settings file names."""
    key_file(tmp_path)
    text = "agent_runtime: {anthropic_api_key_file: key}"

    found = loaded(tmp_path, text, {"ANTHROPIC_API_KEY": "sk-other"})

    assert found.settings.model_keys["ANTHROPIC_API_KEY"].value == "sk-other"
    assert row(found, "anthropic_api_key")[0] == "set (from ANTHROPIC_API_KEY)"


def test_a_key_that_is_given_twice_in_one_place_is_refused(tmp_path: Path) -> None:
    """Nobody has to guess which of two keys in one file is used."""
    key_file(tmp_path)

    with pytest.raises(SettingsInvalid, match="is given twice") as refused:
        loaded(tmp_path, f"agent_runtime: {{openai_api_key: {CANARY}, openai_api_key_file: key}}")

    assert CANARY not in str(refused.value)


def test_a_key_file_that_cannot_be_used_is_told_with_the_other_mistakes(tmp_path: Path) -> None:
    """Absent, no file, empty or binary: each is a finding at its line, beside all others."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    key_file(tmp_path, "two words")
    told = []

    for name in ("absent", "folder", "fifo", "key", "~other/key"):
        with pytest.raises(SettingsInvalid) as refused:
            loaded(tmp_path, f"agent_runtime:\n  gemini_api_key_file: {name}\n  retries: -1\n")
        told.append(str(refused.value).splitlines())

    assert [lines[0] for lines in told] == ["the settings have 2 mistakes"] * 5
    place = f"{tmp_path}/kubecase.yaml:2:24 agent_runtime.gemini_api_key_file - "
    assert [lines[1].removeprefix(place) for lines in told] == [
        f"cannot read {tmp_path}/absent: No such file or directory",
        f"{tmp_path}/folder is a directory",
        f"{tmp_path}/fifo is not a regular file",
        f"{tmp_path}/key does not hold a key (one line of ASCII text, no blanks)",
        "begins with another user's ~; write the path out",
    ]
