"""Secrets vanish from text, and what an on-call engineer needs stays."""

import base64
import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.redaction_positives import KEY_BODY, POSITIVES
from kubecase.core.redact import MARKER, Redactor

DATA = Path(__file__).parent.parent / "data"
NEGATIVES = (DATA / "redaction" / "negatives.txt").read_text().splitlines()
REDACT = Redactor()

FRAGMENTS = st.sampled_from([
    "password", "token", "secret", "=", ": ", " ", '"', "'", "\\", "\n", "Bearer ", "://", "@", ":",
    "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "eyJabcdefgh.abcdefgh", "--", "-u ",
    "[redacted]", "[", "]", "AKIAIOSFODNN7EXAMPLE", "hunter2", "<", ">", ",", "cookie", "a1", ".",
])  # fmt: skip
HOSTILE = st.lists(FRAGMENTS | st.text(max_size=4), max_size=30).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | HOSTILE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HOSTILE, inner, max_size=4),
    max_leaves=20,
)


def test_the_corpus_is_large_enough_to_mean_something() -> None:
    """At least 60 texts hold a secret and at least 200 only look as if."""
    assert len(POSITIVES) >= 60
    assert len(set(NEGATIVES)) >= 200


@pytest.mark.parametrize(("secret", "around"), POSITIVES)
def test_a_secret_vanishes_and_its_surroundings_stay(secret: str, around: str) -> None:
    """Of each text in the corpus exactly the secret is masked (req 5.3)."""
    clean, count = REDACT.text(around.format(secret))

    assert secret not in clean
    assert count == 1
    assert clean == around.format(MARKER)


def test_what_only_looks_like_a_secret_stays() -> None:
    """None of the 200 look-alikes, from names of Secrets to image digests, is touched."""
    touched = {line: REDACT.text(line)[0] for line in NEGATIVES if REDACT.text(line)[1]}

    assert touched == {}


@pytest.mark.parametrize("case", sorted((DATA / "inputs").rglob("*.json"))[:12], ids=str)
def test_recorded_inputs_keep_all_names_and_messages(case: Path) -> None:
    """Redacting a recorded case leaves every name, reason, image and message as it was."""
    before = json.loads(case.read_text())
    after, _ = REDACT.json(before)

    assert _kept(after) == _kept(before)


def _kept(value: object) -> list[object]:
    if isinstance(value, dict):
        own = [value.get(k) for k in ("name", "reason", "image", "uid", "secretName")]
        return [own, *(_kept(v) for k, v in value.items() if k != "data")]
    return [_kept(v) for v in value] if isinstance(value, list) else []


def test_known_values_are_found_in_every_form() -> None:
    """A value the process knows is masked plain, JSON-escaped, and in base64; longest first."""
    value = 'correct "horse"\nbattery'
    encoded = base64.b64encode(value.encode()).decode()
    redact = Redactor([value, "horse", "correct"])

    for form in (value, json.dumps(value), encoded, f"x{value}y"):
        clean, count = redact.text(f"before {form} after")
        assert count == 1, form
        assert "horse" not in clean
        assert clean.startswith("before")


def test_known_values_that_are_too_short_are_not_searched_for() -> None:
    """A known value under six characters would mask innocent words, so it is left out."""
    assert Redactor(["abc", "dact", "", "redacted"]).text("abc of redacted dactyls") == (
        "abc of redacted dactyls",
        0,
    )


def test_a_redactor_does_not_show_what_it_knows() -> None:
    """The representation of a redactor holds none of its values."""
    assert "hunter22" not in repr(Redactor(["hunter22"]))


def test_the_data_of_secrets_is_masked_and_their_keys_stay() -> None:
    """Of a Secret, alone or in a list, only the values are masked."""
    secret = {
        "kind": "Secret", "metadata": {"name": "db"}, "type": "Opaque",
        "data": {"password": "aHVudGVyMg==", "host": "ZGI="}, "stringData": {"x": "y"},
    }  # fmt: skip
    bare = {k: v for k, v in secret.items() if k != "kind"}

    clean, count = REDACT.json({"kind": "SecretList", "items": [bare]})
    alone, alone_count = REDACT.json(secret)

    assert alone["data"] == {"password": MARKER, "host": MARKER}
    assert alone["stringData"] == {"x": MARKER}
    assert alone["metadata"] == {"name": "db"}
    assert clean["items"][0]["data"] == {"password": MARKER, "host": MARKER}
    assert (count, alone_count) == (3, 3)


def test_environment_entries_and_arguments_of_containers_are_masked() -> None:
    """A container's secrets vanish from env and args; names, references and images stay."""
    container = {
        "name": "api", "image": "registry.example.com/api@sha256:" + "a" * 64,
        "env": [
            {"name": "DB_PASSWORD", "value": "hunter2"},
            {"name": "API_TOKEN", "valueFrom": {"secretKeyRef": {"name": "api", "key": "token"}}},
            {"name": "LOG_LEVEL", "value": "debug"},
            {"name": "DATABASE_URL", "value": "postgres://app:hunter2@db/shop"},
        ],
        "args": ["--user", "bob", "--password", "hunter2", "--token=hunter2", "--config", "/etc/x"],
    }  # fmt: skip

    clean, count = REDACT.json(container)

    assert count == 4
    assert "hunter2" not in json.dumps(clean)
    assert clean["env"][1:3] == container["env"][1:3]
    assert clean["image"] == container["image"]
    assert clean["args"] == [
        "--user", "bob", "--password", MARKER, f"--token={MARKER}", "--config", "/etc/x",
    ]  # fmt: skip


def test_json_inside_of_annotations_is_looked_into() -> None:
    """The last applied configuration of a Secret does not give its data away."""
    applied = {"kind": "Secret", "data": {"password": "aHVudGVyMg=="}}
    name = "kubectl.kubernetes.io/last-applied-configuration"

    clean, count = REDACT.json({"metadata": {"annotations": {name: json.dumps(applied)}}})

    inner = json.loads(clean["metadata"]["annotations"][name])
    assert inner == {"kind": "Secret", "data": {"password": MARKER}}
    assert count == 1


def test_names_of_secrets_in_objects_stay() -> None:
    """What says which Secret is used is not itself secret."""
    spec = {
        "volumes": [{"name": "keys", "secret": {"secretName": "signer-keys"}}],
        "imagePullSecrets": [{"name": "regcred"}],
        "serviceAccountName": "api", "automountServiceAccountToken": True,
        "tls": [{"secretName": "shop-tls"}], "tokenRequests": [{"audience": "vault"}],
    }  # fmt: skip

    assert REDACT.json(spec) == (spec, 0)


def test_what_lies_too_deep_is_masked_whole() -> None:
    """JSON nested beyond reason neither overflows the stack nor hides a secret."""
    value: object = "password=hunter2"
    for _ in range(900):
        value = {"a": value}

    clean, count = REDACT.json(value)

    assert "hunter2" not in json.dumps(clean)
    assert count == 1


def test_several_keys_in_one_log_vanish() -> None:
    """Every private key of a log is masked, not only the first."""
    key = f"-----BEGIN EC PRIVATE KEY-----\n{KEY_BODY}\n-----END EC PRIVATE KEY-----"

    clean, count = REDACT.text(f"one\n{key}\ntwo\n{key}\nthree")

    assert clean == f"one\n{MARKER}\ntwo\n{MARKER}\nthree"
    assert count == 2


@settings(max_examples=300, deadline=None)
@given(HOSTILE)
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    """What has been redacted stays as it is, and no text makes redaction fail."""
    once, _ = REDACT.text(text)

    assert REDACT.text(once) == (once, 0)


def test_what_is_masked_already_is_not_counted_again() -> None:
    """A second pass over whole objects and over text that holds one finds nothing to count."""
    secret = {"kind": "Secret", "data": {"a": "b"}, "stringData": {"c": "d", "e": "f"}}
    listed = {"kind": "SecretList", "items": [{"data": {"a": "b"}}]}
    applied = {"metadata": {"annotations": {"last-applied": json.dumps(secret)}}}

    for value, expected in ((secret, 3), (listed, 1), (applied, 3), ([secret, listed], 4)):
        once, count = REDACT.json(value)
        assert count == expected
        assert REDACT.json(once) == (once, 0)
        assert REDACT.text(json.dumps(once)) == (json.dumps(once), 0)


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_any_json_can_be_redacted_and_stays_json(value: object) -> None:
    """Redaction of parsed JSON never fails, keeps its shape, and is done after one pass."""
    once, _ = REDACT.json(value)

    assert REDACT.json(once) == (once, 0)
    assert isinstance(json.dumps(once), str)


@pytest.mark.parametrize(
    "unit",
    ["a", "password=", "token_type='a ", "://a:b", "-----BEGIN PRIVATE KEY-----", "eyJ", "sk-",
     "password ", "bearer ", 'password="', "password\\", "secret", "-u ", "a: ", "-", "{",
     "docker login -p", "mysql ", "redis-cli -a x ", "ldapadd ", "'password': {", "a:*:b:",
     '"token" : {"value" ', "token = null -> ", "key for x is ", "oracle:thin:a/",
     "<password value ", "vault login -a ", "identified by '", "credentials a:"],
)  # fmt: skip
def test_hostile_text_takes_linear_time(unit: str) -> None:
    """Eight times the text takes about eight times as long, whatever is repeated in it."""

    def seconds(size: int) -> float:
        text = unit * (size // len(unit))
        begun = time.process_time()
        REDACT.text(text)
        return time.process_time() - begun

    small = min(seconds(30_000) for _ in range(2))
    large = seconds(240_000)

    assert large < 24 * max(small, 0.01)


def test_a_five_megabyte_log_is_redacted_in_seconds() -> None:
    """An ordinary log of 5 MB takes seconds, and each of its secrets is found."""
    line = (
        "2026-01-02T03:04:05Z INFO request id=4bf92f3577 path=/api/v1/items status=200 took=12ms\n"
    )
    secret = "2026-01-02T03:04:06Z WARN retry password=hunter2 user=bob\n"
    text = (line * 600 + secret) * 100

    begun = time.process_time()
    clean, count = REDACT.text(text)

    assert count == 100
    assert "hunter2" not in clean
    assert time.process_time() - begun < 20
