"""The service from outside: faults in, reports out, signals, reload, and nothing lost."""

import json
import signal
import time
from pathlib import Path

from fakes.kube_streams import EventStream, recorded_stream

from .conftest import Home
from .serving import serving, settings, wait_for

WAITS = "while [ ! -e go ]; do sleep 0.05; done"


def test_a_fault_over_http_becomes_a_report(home: Home) -> None:
    """One POST is answered when it is durable, worked once, and told of with all that was decided;
    its repetition costs nothing (req 18.1, 18.3, 18.4).
    """
    settings(home, agent_runtime={"agent": "builtin"})
    with serving(home) as service:
        incident = service.fault()
        done = wait_for(lambda: (i := service.incident(incident))["state"] == "done" and i)
        again = service.fault()
        later = service.incident(incident)
        report = service.get(f"/api/v1/incidents/{incident}/attempts/1/report.json")
        service.signal(signal.SIGTERM)
        code = service.ended()

    assert code == 0
    assert again == incident
    assert done["attempts"][0]["status"] == "success"
    assert len(later["attempts"]) == 1
    assert [each["decision"] for each in later["decisions"]] == ["opened", "suppressed"]
    assert report["result"]["incident_id"] == incident
    assert home.processes_below() == []


def test_a_killed_service_loses_nothing(home: Home, leaves_report: str) -> None:
    """After a SIGKILL in mid-work the next service finds all that was acknowledged: what ran is
    taken over and comes to its end, what waited is worked, nothing is done twice.
    """
    agent = home.agent(f"echo begun >>begun\n{leaves_report}\n{WAITS}")
    settings(
        home, agent_runtime={"agent": "command", "agent_command": str(agent)},
        limits={"shutdown_timeout": "5s"},
    )  # fmt: skip
    with serving(home) as service:
        first = service.fault()
        wait_for(lambda: list(home.data.glob("workspaces/*/begun")))
        second = service.fault(resource="Pod/web-0")
        service.process.kill()
        service.ended()

    with serving(home) as service:
        for workspace in home.data.glob("workspaces/*"):
            (workspace / "go").touch()
        wait_for(lambda: service.incident(first)["state"] == "done")
        wait_for(
            lambda: (
                [(w / "go").touch() for w in home.data.glob("workspaces/*") if w.is_dir()]
                and service.incident(second)["state"] == "done"
            )
        )
        attempts = [service.incident(each)["attempts"] for each in (first, second)]
        service.signal(signal.SIGTERM)
        assert service.ended() == 0

    assert [[each["status"] for each in one] for one in attempts] == [["success"], ["success"]]
    assert _begun(home) == ["begun", "begun"]
    assert home.processes_below() == []


def _begun(home: Home) -> list[str]:
    """A word for each time that an agent was begun."""
    texts = (path.read_text() for path in home.data.glob("workspaces/*/begun"))
    return [word for text in texts for word in text.split()]


def test_a_stop_lets_what_runs_come_to_its_end(home: Home, leaves_report: str) -> None:
    """SIGTERM ends the intake at once and the service when its agents have ended; exit code 0."""
    agent = home.agent(f"{leaves_report}\ntouch here\n{WAITS}")
    settings(
        home, agent_runtime={"agent": "command", "agent_command": str(agent)},
        limits={"shutdown_timeout": "60s"},
    )  # fmt: skip
    with serving(home) as service:
        incident = service.fault()
        here = wait_for(lambda: list(home.data.glob("workspaces/*/here")))[0]
        service.signal(signal.SIGTERM)
        wait_for(lambda: service.said("stopping"))
        assert service.process.poll() is None
        here.with_name("go").touch()
        assert service.ended() == 0

    story = json.loads(home.run("show", incident, "--json").stdout)
    assert [each["status"] for each in story["attempts"]] == ["success"]
    assert home.processes_below() == []


def test_a_stop_hands_over_what_takes_too_long(home: Home, leaves_report: str) -> None:
    """What does not end in time goes on without the service, and the next one brings it to its end;
    the first exits with 0, since nothing was lost.
    """
    agent = home.agent(f"echo begun >>begun\n{leaves_report}\ntouch here\n{WAITS}")
    settings(
        home,
        agent_runtime={
            "agent": "command", "agent_command": str(agent), "when_supervisor_dies": "survive",
        },
        limits={"shutdown_timeout": "1s"},
    )  # fmt: skip
    with serving(home) as service:
        incident = service.fault()
        here = wait_for(lambda: list(home.data.glob("workspaces/*/here")))[0]
        service.signal(signal.SIGTERM)
        assert service.ended() == 0

    assert home.processes_below() != []
    with serving(home) as service:
        here.with_name("go").touch()
        wait_for(lambda: service.incident(incident)["state"] == "done")
        service.signal(signal.SIGTERM)
        assert service.ended() == 0
    assert _begun(home) == ["begun"]
    assert home.processes_below() == []


def test_a_stop_ends_what_would_not_survive_it(home: Home) -> None:
    """Where agents die with their service, those that take too long are ended, and the exit code
    says so.
    """
    agent = home.agent(f"touch here\n{WAITS}")
    settings(
        home,
        agent_runtime={
            "agent": "command", "agent_command": str(agent), "graceful_shutdown_seconds": 1,
            "when_supervisor_dies": "die_with_me",
        },
        limits={"shutdown_timeout": "1s"},
    )  # fmt: skip
    with serving(home) as service:
        incident = service.fault()
        wait_for(lambda: list(home.data.glob("workspaces/*/here")))
        service.signal(signal.SIGTERM)
        assert service.ended() == 1

    story = json.loads(home.run("show", incident, "--json").stdout)
    assert story["attempts"][0]["status"] == "cancelled"
    assert home.processes_below() == []


def test_settings_are_read_anew_and_a_broken_file_changes_nothing(home: Home) -> None:
    """SIGHUP brings new rules into force at once; a file with a mistake is told of, and what was in
    force stays.
    """
    path = settings(home, agent_runtime={"agent": "builtin"})
    with serving(home) as service:
        service.fault(resource="Pod/one")
        silence = {"silences": [{"reason": "upgrade", "namespace": "shop"}]}
        settings(home, agent_runtime={"agent": "builtin"}, limits=silence)
        service.signal(signal.SIGHUP)
        wait_for(lambda: service.said("settings read anew"))
        silenced = service.post("/api/v1/faults", _fault("Pod/two")).json()["accepted"][0]
        path.write_text("limits: {at_ones: 3}\n")
        service.signal(signal.SIGHUP)
        wait_for(lambda: service.said("error in settings"))
        still = service.post("/api/v1/faults", _fault("Pod/three")).json()["accepted"][0]
        service.signal(signal.SIGTERM)
        assert service.ended() == 0

    for each in (silenced, still):
        assert (each["decision"], each["reason"]) == ("filtered", "silenced: upgrade")


def _fault(resource: str) -> dict[str, str]:
    return {"cluster": "dev", "namespace": "shop", "resource": resource, "reason": "CrashLoop"}


def test_only_one_serves_from_a_directory(home: Home) -> None:
    """A second service on the same record is refused with the remedy, and the first goes on."""
    settings(home, agent_runtime={"agent": "builtin"})
    with serving(home) as service:
        second = home.run("serve", "--data-dir", str(home.data))
        assert service.get("/healthz")["status"] == "ok"
        service.signal(signal.SIGINT)
        assert service.ended() == 0

    assert second.returncode == 2
    assert "serves from" in second.stderr.decode()


def test_what_runs_and_what_waits_can_be_cancelled(home: Home, leaves_report: str) -> None:
    """A cancel over HTTP stops the agent of one and takes the other out of the queue."""
    agent = home.agent(f"{leaves_report}\ntouch here\n{WAITS}")
    settings(home, agent_runtime={
        "agent": "command", "agent_command": str(agent), "graceful_shutdown_seconds": 1,
    })  # fmt: skip
    with serving(home) as service:
        runs = service.fault()
        wait_for(lambda: list(home.data.glob("workspaces/*/here")))
        waits = service.fault(resource="Pod/web-0")
        assert service.post(f"/api/v1/incidents/{waits}/cancel").status_code < 300
        assert service.post(f"/api/v1/incidents/{runs}/cancel").status_code < 300
        wait_for(lambda: service.incident(runs)["state"] == "done")
        states = [service.incident(each)["state"] for each in (runs, waits)]
        attempts = service.incident(runs)["attempts"]
        service.signal(signal.SIGTERM)
        assert service.ended() == 0

    assert states == ["done", "suppressed"]
    assert attempts[0]["status"] == "cancelled"


def test_an_old_incident_expires_and_a_critical_one_does_not(
    home: Home, leaves_report: str
) -> None:
    """What nobody was free for in time is expired on record, unless it is critical."""
    agent = home.agent(f"{leaves_report}\ntouch here\n{WAITS}")
    settings(
        home, agent_runtime={"agent": "command", "agent_command": str(agent)},
        limits={"queue_max_age": "1s"},
    )  # fmt: skip
    with serving(home) as service:
        service.fault()
        here = wait_for(lambda: list(home.data.glob("workspaces/*/here")))[0]
        old = service.fault(resource="Pod/web-0", severity="warning")
        critical = service.fault(resource="Pod/db-0")
        until = time.monotonic() + 1.2
        wait_for(lambda: time.monotonic() > until)
        here.with_name("go").touch()
        # The critical one is worked first, and it is told to end as soon as it has a workspace.
        wait_for(
            lambda: (
                [(w / "go").touch() for w in home.data.glob("workspaces/*") if w.is_dir()]
                and service.incident(critical)["state"] == "done"
            )
        )
        wait_for(lambda: service.incident(old)["state"] == "expired")
        service.signal(signal.SIGTERM)
        assert service.ended() == 0


def test_a_watched_cluster_opens_one_incident_for_each_workload(home: Home) -> None:
    """The recorded storm of 26 sick workloads, watched with closes and both kinds of 410, opens 24
    to 28 incidents; a restart of the service opens none of them again.
    """
    with EventStream(recorded_stream("many-failures"), close_after=97, gone=5, error=7) as cluster:
        kubeconfig = cluster.kubeconfig(Path(home.root) / "cluster.kubeconfig")
        settings(
            home, agent_runtime={"agent": "builtin"},
            clusters={"dev": {"kubeconfig": str(kubeconfig)}},
            limits={"second_sign": "0s", "shutdown_timeout": "30s"},
        )  # fmt: skip
        with serving(home) as service:
            wait_for(lambda: len(_incidents(service)) >= 24)
            wait_for(lambda: all(i["state"] == "done" for i in _incidents(service)), 100)
            first = {each["id"] for each in _incidents(service)}
            states = service.get("/health/clusters")["clusters"]
            service.signal(signal.SIGTERM)
            assert service.ended() == 0
        with serving(home) as service:
            wait_for(lambda: service.get("/health/clusters")["clusters"][0]["event_count"] >= 24)
            wait_for(lambda: all(i["state"] == "done" for i in _incidents(service)))
            second = {each["id"] for each in _incidents(service)}
            service.signal(signal.SIGTERM)
            assert service.ended() == 0

    assert 24 <= len(first) <= 28
    assert second == first
    assert states[0]["status"] in {"active", "connecting"}


def _incidents(service: "object") -> list[dict[str, str]]:
    found = service.get("/api/v1/incidents?limit=100")["incidents"]  # type: ignore[attr-defined]
    assert isinstance(found, list)
    return found


def test_the_command_line_tells_the_story(home: Home, leaves_report: str) -> None:
    """`show` has every decision with its reason, `list --waiting` what nobody has begun, and what
    people say of a report is kept.
    """
    agent = home.agent(f"{leaves_report}\ntouch here\n{WAITS}")
    settings(home, agent_runtime={"agent": "command", "agent_command": str(agent)})
    with serving(home) as service:
        first = service.fault()
        here = wait_for(lambda: list(home.data.glob("workspaces/*/here")))[0]
        service.fault()
        second = service.fault(resource="Pod/web-0", severity="warning")
        waiting = json.loads(home.run("list", "--waiting", "--json").stdout)
        here.with_name("go").touch()
        wait_for(lambda: service.incident(first)["state"] == "done")
        service.process.kill()
        service.ended()
    said = home.run("feedback", first, "wrong", "--cause", "image.not_found", "--by", "sre")

    assert said.returncode == 0, said.stderr
    assert [each["incident_id"] for each in waiting] == [second]
    story = json.loads(home.run("show", first, "--json").stdout)
    assert [each["decision"] for each in story["decisions"]] == ["opened", "joined"]
    assert story["feedback"][0]["cause"] == "image.not_found"
    text = home.run("show", first).stdout.decode()
    assert "an incident is open for workload/shop/api" in text
    assert "sre says: wrong, the cause was image.not_found" in text
