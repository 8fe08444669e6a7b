"""Telling people, by the installed command against real servers."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator

import pytest

from fakes.receivers import Answer, Receiver, receiving

from .conftest import Home


@pytest.fixture
def slack() -> Iterator[Receiver]:
    with receiving(Receiver(strict=True)) as receiver:
        yield receiver


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiving(Receiver()) as receiver:
        yield receiver


def settings(home: Home, text: str) -> None:
    (home.root / "kubecase.yaml").write_text(text)


TEAM = """
sinks:
  team: {kind: slack, url_env: TEAM_WEBHOOK}
"""


def everything_written(home: Home) -> bytes:
    return b"".join(each.read_bytes() for each in home.root.rglob("*") if each.is_file())


def test_an_investigation_is_told_before_the_command_ends(home: Home, slack: Receiver) -> None:
    """What was found is in the channel when the command is back, and its address in no file."""
    settings(home, TEAM)
    env = {"TEAM_WEBHOOK": slack.url}

    code, result = home.result(str(home.fault()), "--agent", "builtin", env=env)
    shown = home.run("config", "show", env=env)

    assert code == 0
    (message,) = slack.taken
    assert result["incident_id"] in json.dumps(message)
    assert b"xxxx-secret" not in shown.stdout + shown.stderr + everything_written(home)


def test_what_could_not_be_told_waits_and_is_told_later(home: Home, slack: Receiver) -> None:
    """A receiver that is down changes no result; `notify --due` tells once it is back and due."""
    settings(home, TEAM)
    gone = {"TEAM_WEBHOOK": "http://127.0.0.1:1/services/xxxx-secret"}
    env = {"TEAM_WEBHOOK": slack.url}

    done = home.run("investigate", str(home.fault()), "--agent", "builtin", "--json", env=gone)
    early = home.run("notify", "--due", "--json", env=env)
    again = home.run("notify", "@last", "--json", env=env)

    assert done.returncode == 0
    assert b"it stays in the outbox" in done.stderr
    assert json.loads(early.stdout) == []  # not before its pause is over
    assert again.returncode == 0
    assert [each["outcome"] for each in json.loads(again.stdout)] == ["delivered"]
    assert len(slack.taken) == 1
    assert b"xxxx-secret" not in done.stdout + done.stderr + everything_written(home)


def test_a_program_is_told_with_a_signature(home: Home, hook: Receiver) -> None:
    """A webhook gets our document, an idempotency key, and a signature that can be checked."""
    (home.root / "key").write_text("a-long-secret-key")
    (home.root / "key").chmod(0o600)
    settings(
        home,
        "sinks:\n  bus: {kind: webhook, url_env: BUS, secret_file: key, on: [failed]}\n"
        "agent_runtime: {agent_command: [/bin/sh, -c, 'exit 3']}\n",
    )
    before = int(time.time())

    code, result = home.result(str(home.fault()), "--agent", "command", env={"BUS": hook.url})

    assert code == 1
    ((headers, body),) = hook.arrived
    stamp = headers["kubecase-timestamp"]
    expected = hmac.new(b"a-long-secret-key", stamp.encode() + b"." + body, hashlib.sha256)
    assert headers["kubecase-signature"] == f"v1={expected.hexdigest()}"
    assert before <= int(stamp) <= int(time.time())
    document = json.loads(body)
    assert document["reference"] == headers["idempotency-key"]
    assert document["incident"]["id"] == result["incident_id"]
    assert document["investigation"]["status"] == "failed"


def test_a_sink_can_be_tried(home: Home, slack: Receiver) -> None:
    """`notify test` sends a message of its own, and says what a receiver that refuses says."""
    settings(home, TEAM)
    env = {"TEAM_WEBHOOK": slack.url}

    assert home.run("notify", "test", "team", env=env).returncode == 0
    assert "test" in slack.taken[0]["text"]
    slack.answer = Answer(status=404, body=b"no_service")
    slack.strict = False
    refused = home.run("notify", "test", "team", env=env)
    unknown = home.run("notify", "test", "nobody", env=env)

    assert refused.returncode == 1
    assert b"404: no_service" in refused.stderr
    assert unknown.returncode == 2
    assert b"team" in unknown.stderr
    assert b"xxxx-secret" not in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{kind: slack}", "has no address"),
        ("{kind: slack, url_env: ABSENT}", "ABSENT of url_env is empty"),
        ("{kind: slack, url: 'https://h/x', url_env: TEAM}", "two addresses"),
        ("{kind: slack, url: 'ftp://h/secret-x'}", "must be an address"),
        ("{kind: slack, url: 'https://h/x', on: [never]}", "is not one of success"),
        ("{kind: slack, url: 'https://h/x', min_severtiy: info}", "did you mean min_severity"),
        ("{kind: slack, url: 'https://h/x', url_file: absent}", "cannot read"),
        ("{url: 'https://h/x'}", "is missing"),
    ],
)
def test_a_mistake_in_the_settings_is_told_where_it_stands(
    home: Home, entry: str, said: str
) -> None:
    """File, line and remedy; the address is not repeated."""
    settings(home, f"sinks:\n  team: {entry}\n")

    done = home.run("config", "show", env={"TEAM": "https://h/x"})

    assert done.returncode == 2
    assert b"kubecase.yaml:2:" in done.stderr
    assert said.encode() in done.stderr
    assert b"secret-x" not in done.stderr


def test_a_kind_that_is_not_installed_is_told(home: Home) -> None:
    """An unknown kind of sink names those that there are, and costs no investigation."""
    settings(home, "sinks:\n  team: {kind: pager, url: 'https://h/x'}\n")

    done = home.run("notify", "test", "team")
    worked = home.run("investigate", str(home.fault()), "--agent", "builtin")

    assert done.returncode == 2
    assert b"pager" in done.stderr
    assert b"slack, webhook" in done.stderr
    assert worked.returncode == 0
    assert b"nobody was told" in worked.stderr


def test_several_agents_on_one_incident_are_told_of_once(home: Home, slack: Receiver) -> None:
    """One message for the incident, not one for each agent."""
    agent = home.root / "agent.sh"
    agent.write_text("#!/bin/sh\ncat >/dev/null\nyes 'The table is missing. ' | head -20 "
                     ">output/investigation.md\n")  # fmt: skip
    agent.chmod(0o700)
    settings(
        home,
        TEAM + f"agent_runtime: {{agents: [command, builtin], agent_command: [{agent}]}}\n",
    )

    home.run("investigate", str(home.fault()), env={"TEAM_WEBHOOK": slack.url})

    assert len(slack.taken) == 1


def test_an_agent_that_keeps_failing_is_told_of_once(home: Home, hook: Receiver) -> None:
    """After so many failures in a row one message says so, and one that it answers again."""
    agent = home.root / "agent.sh"
    agent.write_text("#!/bin/sh\nexit 3\n")
    agent.chmod(0o700)
    settings(
        home,
        "sinks:\n  bus: {kind: webhook, url_env: BUS, on: [degraded, recovered]}\n"
        f"agent_runtime: {{agent_command: [{agent}], breaker_failures: 2}}\n",
    )
    env = {"BUS": hook.url}

    for _ in range(3):
        home.run("investigate", str(home.fault()), "--agent", "command", env=env)
    agent.write_text(
        "#!/bin/sh\ncat >/dev/null\nyes 'The table is missing. ' | head -20 "
        ">output/investigation.md\n"
    )
    for _ in range(2):
        done = home.run("investigate", str(home.fault()), "--agent", "command", env=env)
        assert done.returncode == 0, done.stderr

    assert [each["kind"] for each in hook.taken] == ["degraded", "recovered"]
    assert hook.taken[0]["reasons"] == ["exit_code", "exit_code"]
    assert hook.taken[1]["failures"] == 3


def test_the_service_tells_what_it_concludes(home: Home, slack: Receiver) -> None:
    """A fault that the service takes from a directory ends as one message in the channel."""
    (home.root / "faults").mkdir()
    settings(
        home,
        TEAM + "sources:\n  drop: {kind: directory, path: faults, cluster: dev}\n"
        "agent_runtime: {agent: builtin}\nweb: {listen: '127.0.0.1:0'}\n",
    )
    service = home.start("serve", "--data-dir", str(home.data), env={"TEAM_WEBHOOK": slack.url})
    try:
        (home.root / "faults" / "one.json").write_bytes(home.fault().read_bytes())
        slack.wait_for(1, seconds=60)
    finally:
        service.terminate()
        said = service.communicate(timeout=60)[1]

    assert service.returncode == 0, said
    assert len(slack.taken) == 1
    assert "api-0" in json.dumps(slack.taken)
    assert b"xxxx-secret" not in said + everything_written(home)
