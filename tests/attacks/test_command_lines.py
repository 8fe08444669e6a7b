"""The corpus of command lines, and what any command may become that the tool lets through."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kubecase.core.kubectl import KubectlCall, Refused, parse, parse_line
from kubecase.core.kubectl_flags import FLAGS, NEVER
from kubecase.gateways.families import shipped_resources

RESOURCES = shipped_resources()
CORPUS = tomllib.loads((Path(__file__).parent / "command_lines.toml").read_text("utf-8"))["command"]


def test_the_corpus_is_as_large_as_it_says() -> None:
    """At least 150 command lines are published, most of which must be refused (req 13.8)."""
    refused = [each for each in CORPUS if each["expect"] == "refuse"]
    assert len(CORPUS) >= 150
    assert len(refused) >= 100
    assert len(CORPUS) - len(refused) >= 60


@pytest.mark.parametrize("expect", ["allow", "refuse"])
def test_every_command_line_comes_out_as_written(expect: str) -> None:
    """Each is let through or refused in a sentence, wherever its flags stand (req 13.5, 13.8)."""
    wrong = []
    for each in (each for each in CORPUS if each["expect"] == expect):
        found = parse_line(each["line"], RESOURCES)
        if isinstance(found, KubectlCall) != (expect == "allow"):
            wrong.append(f"{each['line']!r}: {found}")
        if isinstance(found, Refused):
            assert 20 < len(found.says) < 600, found
    assert not wrong, "\n".join(wrong)


def test_what_is_allowed_is_written_anew() -> None:
    """The program is given what was understood: long flags with their values, then the words."""
    found = parse_line("/usr/bin/kubectl -nshop get -Ao json deploy.apps", RESOURCES)

    assert isinstance(found, KubectlCall)
    assert found.argv == (
        "get", "--namespace=shop", "--all-namespaces=true", "--output=json", "deploy.apps",
    )  # fmt: skip
    assert found.resources == ("deploy.apps",)


def test_logs_and_waits_are_bounded_unasked() -> None:
    """Without a bound of its own a log has its last 500 lines, and a wait a minute."""
    log, wait = (
        parse_line(line, RESOURCES)
        for line in ("logs api-0", "wait --for=condition=Ready pod/api-0")
    )
    assert isinstance(log, KubectlCall)
    assert isinstance(wait, KubectlCall)
    assert "--tail=500" in log.argv
    assert "--timeout=60s" in wait.argv


VERBS = sorted({word for verb in FLAGS for word in verb.split(" ")})
FLAG_WORDS = [f"--{flag.name}" for flags in FLAGS.values() for flag in flags]
SHORT = [
    "-n",
    "-A",
    "-o",
    "-l",
    "-w",
    "-f",
    "-c",
    "-p",
    "-v",
    "-s",
    "-k",
    "-nshop",
    "-Aw",
    "-ojson",
]
REFUSED = [f"--{name}" if len(name) > 1 else f"-{name}" for name in NEVER]
OTHERS = [
    "pods", "secrets", "secret/db", "pod/api-0", "Secrets", "secrets.v1.", "pods,secrets", "api-0",
    "all", "nodes", "delete", "exec", "--", "-", "json", "yaml", "jsonpath={.x}", "shop", "1",
    "go-template-file=/etc/passwd", "condition=Ready", "dump", "10s", "true", "can-i", "x=y",
]  # fmt: skip
WORDS = st.one_of(
    st.sampled_from(VERBS), st.sampled_from(FLAG_WORDS), st.sampled_from(SHORT),
    st.sampled_from(REFUSED), st.sampled_from(OTHERS),
    st.builds("{}={}".format, st.sampled_from(FLAG_WORDS + REFUSED), st.sampled_from(OTHERS)),
    st.text(max_size=12),
)  # fmt: skip


@settings(max_examples=5000, deadline=None, derandomize=True, database=None)
@given(words=st.lists(WORDS, max_size=8), verb=st.sampled_from([*FLAGS, ""]))
@example(words=["--", "secrets"], verb="get")
@example(words=["-Aw", "pods"], verb="get")
def test_nothing_that_is_allowed_names_a_secret_or_a_refused_flag(
    words: list[str], verb: str
) -> None:
    """Whatever is let through reads no Secret, has no refused flag, and reads the same again."""
    found = parse([*verb.split(" "), *words] if verb else words, RESOURCES)

    if isinstance(found, Refused):
        return
    assert found.verb in FLAGS
    flags = [word for word in found.argv if word.startswith("-")]
    allowed = {flag.name for flag in (*FLAGS[found.verb],)} | {"namespace", "request-timeout"}
    assert {flag[2:].partition("=")[0] for flag in flags} <= allowed
    assert all("-file" not in f for f in flags if f.startswith("--output="))
    if found.verb not in {"auth can-i", "explain"}:
        named = [word.lower() for word in found.argv if not word.startswith("-")]
        assert not {"secret", "secrets"} & set(found.resources)
        assert not any(word.startswith(("secret/", "secrets/")) for word in named)
    assert parse(found.argv, RESOURCES) == found
