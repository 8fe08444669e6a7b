"""Checking afterwards whether anything on record was changed."""

import json
from pathlib import Path

from acceptance.conftest import Home
from kubecase.gateways.audit import AuditLog


def test_a_changed_artifact_or_record_is_named(home: Home, leaves_report: str) -> None:
    """Verify holds for what nobody touched, and fails with the artifact, or the first bad line of
    the record, that was changed since.
    """
    agent = home.agent(f"{leaves_report}\necho evidence >output/artifacts/note")
    _, result = home.result(
        "--agent", "command", str(home.fault()), env={"AGENT_RUNTIME_COMMAND": str(agent)}
    )
    record = home.data / "audit" / f"{result['incident_id']}-1.jsonl"
    log = AuditLog.open(record, home.data / "answers")
    for number in range(3):
        log.record("model", number=number)
    log.close()
    untouched = home.run("verify", "@last", "--json")
    assert untouched.returncode == 0
    assert [each["holds"] for each in json.loads(untouched.stdout)] == [True, True]

    Path(result["artifacts"][0]["path"]).write_text("altered\n")
    done = home.run("verify", "@last")
    assert done.returncode == 1
    assert b"artifact note: DOES NOT HOLD" in done.stdout

    record.write_bytes(record.read_bytes().replace(b'"number":1', b'"number":7'))
    done = home.run("verify", "@last")
    assert done.returncode == 1
    assert b"line 2: its hash does not fit" in done.stdout
