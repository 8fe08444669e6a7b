"""The distribution's Alertmanager and Prometheus beside `kubecase serve`, as processes."""

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from acceptance.conftest import Home
from acceptance.serving import Served, serving, settings, wait_for

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "examples/monitoring"
PACKAGES = {
    "prometheus": "prometheus", "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager", "amtool": "prometheus-alertmanager",
}  # fmt: skip
WITHIN = 90.0

pytestmark = [pytest.mark.promtool, pytest.mark.timeout(300)]


def program(name: str) -> str:
    """Where the program is; the test is skipped where its package is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (package {PACKAGES[name]})")
    return found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with nothing in it."""
    return Home(root=tmp_path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(argv: list[str], cwd: Path, ready: str) -> Iterator[None]:
    """The program, once `ready` answers 200; ended when this is left."""
    log = cwd / f"{Path(argv[0]).name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_for(lambda: answers(ready) or process.poll() is not None, WITHIN)
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=5).status_code == 200
    except httpx2.TransportError:
        return False


def token(home: Home, name: str, scope: str) -> Path:
    """A file with a new token, as a monitoring program is given one."""
    done = home.run("token", "create", name, "--scope", scope, "--data-dir", str(home.data))
    assert done.returncode == 0, done.stderr.decode()
    path = home.root / f"{name}.token"
    path.touch(mode=0o600)
    path.write_bytes(done.stdout.strip())
    return path


def from_example(name: str, target: Path, **changes: str) -> Path:
    """The example file with other addresses and times: each text to replace has to be in it."""
    text = (EXAMPLES / name).read_text()
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    target.write_text(text)
    return target


class Alertmanager:
    """A running Alertmanager, told of alerts by its own API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def tell(self, *alerts: dict[str, str], over: bool = False) -> None:
        """These labels fire, since an hour ago; or they are over."""
        now = datetime.now(UTC)
        ends = now - timedelta(seconds=1) if over else now + timedelta(hours=1)
        body = [
            {
                "labels": labels, "annotations": {"summary": "the api crashes"},
                "startsAt": (now - timedelta(hours=1)).isoformat(), "endsAt": ends.isoformat(),
            }
            for labels in alerts
        ]  # fmt: skip
        response = httpx2.post(f"{self.url}/api/v2/alerts", json=body, timeout=20)
        assert response.status_code == 200, response.text


@contextmanager
def alertmanager(
    home: Home, service: Served, secret: Path, **changes: str
) -> Iterator[Alertmanager]:
    """The real one, configured by our example with short times."""
    binary = program("prometheus-alertmanager")
    port = free_port()
    config = from_example(
        "alertmanager.yml",
        home.root / "alertmanager.yml",
        **{
            "http://127.0.0.1:8080": service.url,
            "/etc/alertmanager/kubecase-token": str(secret),
            "group_wait: 30s": "group_wait: 200ms",
            "group_interval: 5m": "group_interval: 1s",
            **changes,
        },
    )
    argv = [
        binary, f"--config.file={config}", f"--storage.path={home.root / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with running(argv, home.root, f"{url}/-/ready"):
        yield Alertmanager(url)


@contextmanager
def locked_service(home: Home) -> Iterator[tuple[Served, Callable[[str], Any]]]:
    """The service where even programs of this host need a token, and a reader with one."""
    settings(
        home,
        web={"listen": "127.0.0.1:0", "loopback_needs_token": True},
        agent_runtime={"agent": "builtin"},
    )
    reader = {"authorization": f"Bearer {token(home, 'reader', 'read').read_text()}"}
    with serving(home) as service:

        def get(path: str) -> Any:
            return httpx2.get(service.url + path, headers=reader, timeout=20).json()

        yield service, get


def labels(pod: str, **more: str) -> dict[str, str]:
    return {
        "alertname": "KubePodCrashLooping", "namespace": "shop", "pod": pod,
        "severity": "critical", "cluster": "dev", **more,
    }  # fmt: skip


def story(get: Callable[[str], Any]) -> list[dict[str, Any]]:
    """All incidents, each with everything on record about it."""
    ids = [each["id"] for each in get("/api/v1/incidents")["incidents"]]
    return [get(f"/api/v1/incidents/{each}") for each in ids]


def the_one(get: Callable[[str], Any], holds: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """The only incident, once that is true of it."""
    found = wait_for(lambda: (s := story(get)) and holds(s[0]) and s, WITHIN)
    assert len(found) == 1
    assert isinstance(found[0], dict)
    return found[0]


def words_of(incident: dict[str, Any]) -> list[str]:
    return [each["decision"] for each in incident["decisions"]]


def is_done(incident: dict[str, Any], attempts: int) -> bool:
    state = incident["incident"]["state"]
    return state == "done" and len(incident["attempts"]) == attempts


def test_an_alert_opens_resolves_and_opens_its_incident_again(home: Home) -> None:
    """A firing alert of the real Alertmanager is worked, its end marks the incident, and the same
    alert later opens the same incident again; without the token nothing is taken (req 18.3).
    """
    with locked_service(home) as (service, get):
        refused = service.post("/api/v1/alertmanager", {"version": "4", "alerts": [{}]})
        secret = token(home, "alertmanager", "ingest")
        with alertmanager(home, service, secret) as source:
            source.tell(labels("api-0"))
            first = the_one(get, lambda i: is_done(i, 1))
            source.tell(labels("api-0"), over=True)
            over = the_one(get, lambda i: i["intake"]["resolved_at"])
            source.tell(labels("api-0"))
            again = the_one(get, lambda i: is_done(i, 2))

    assert refused.status_code == 401
    assert first["intake"]["resolved_at"] is None
    assert first["attempts"][0]["status"] == "success"
    assert words_of(over) == ["opened", "resolved"]
    assert words_of(again) == ["opened", "resolved", "reopened"]
    assert again["intake"]["resolved_at"] is None
    assert {i["incident"]["id"] for i in (first, over, again)} == {first["incident"]["id"]}


def test_an_incident_is_over_with_the_last_of_its_alerts(home: Home) -> None:
    """Two pods of one Deployment are one incident: the end of one alert neither marks it nor lets
    the other, which still fires in the same group, begin another investigation.
    """
    pods = [labels(f"api-6d4cf56db6-{suffix}") for suffix in ("bcdfg", "hjklm")]
    with locked_service(home) as (service, get):
        secret = token(home, "alertmanager", "ingest")
        with alertmanager(home, service, secret) as source:
            source.tell(*pods)
            the_one(get, lambda i: is_done(i, 1) and len(i["decisions"]) == 2)
            source.tell(pods[0], over=True)
            half = the_one(get, lambda i: "resolved" in words_of(i) and len(i["decisions"]) == 4)
            source.tell(pods[1], over=True)
            whole = the_one(get, lambda i: i["intake"]["resolved_at"])

    assert half["intake"]["resolved_at"] is None
    assert half["incident"]["state"] == "done"
    assert words_of(half)[2:] == ["resolved", "suppressed"]
    assert words_of(whole)[4:] == ["resolved"]
    assert len(whole["attempts"]) == 1


def test_what_alertmanager_cuts_off_is_told_of(home: Home) -> None:
    """Where a group has more alerts than max_alerts, those sent are taken and the log says how many
    were not.
    """
    with locked_service(home) as (service, get):
        secret = token(home, "alertmanager", "ingest")
        changes = {"max_alerts: 500": "max_alerts: 2"}
        with alertmanager(home, service, secret, **changes) as source:
            source.tell(*(labels(f"pod{letter}") for letter in "abcde"))
            wait_for(lambda: len(story(get)) == 2, WITHIN)
            wait_for(lambda: service.said("3 alerts"), WITHIN)


def names_promised() -> set[str]:
    """Each metric of docs/alerts.md, as a query names it."""
    rows = (line.split("|") for line in (ROOT / "docs/alerts.md").read_text().splitlines())
    found = {(r[1].strip(" `"), r[2].strip()) for r in rows if len(r) > 4}
    kinds = {"counter", "gauge", "histogram"}
    return {f"{n}_count" if kind == "histogram" else n for n, kind in found if kind in kinds}


def query(url: str, expression: str) -> list[dict[str, Any]]:
    answer = httpx2.get(f"{url}/api/v1/query", params={"query": expression}, timeout=20).json()
    assert answer["status"] == "success", answer
    result = answer["data"]["result"]
    assert isinstance(result, list)
    return result


def rules_of(url: str) -> list[dict[str, Any]]:
    groups = httpx2.get(f"{url}/api/v1/rules", timeout=20).json()["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_prometheus_scrapes_every_metric_and_evaluates_every_rule(home: Home) -> None:
    """The real Prometheus, by our example and with a token, has every documented metric after one
    incident, and evaluates each rule of configs/alerts.yaml without an error (req 14.2).
    """
    promtool, port = program("promtool"), free_port()
    with locked_service(home) as (service, get):
        secret = token(home, "prometheus", "read")
        sender = {"authorization": f"Bearer {token(home, 'sender', 'ingest').read_text()}"}
        fault = {
            "namespace": "shop", "resource": "Pod/api-0", "reason": "CrashLoop", "cluster": "dev",
        }  # fmt: skip
        assert service.post("/api/v1/faults", fault, **sender).status_code == 202
        the_one(get, lambda i: is_done(i, 1))
        config = from_example(
            "prometheus.yml",
            home.root / "prometheus.yml",
            **{
                "127.0.0.1:8080": service.url.removeprefix("http://"),
                "/etc/prometheus/kubecase-token": str(secret),
                "/etc/prometheus/kubecase-alerts.yaml": str(ROOT / "configs/alerts.yaml"),
                "_interval: 15s": "_interval: 1s",
            },
        )
        checked = subprocess.run([promtool, "check", "config", config], capture_output=True)
        argv = [
            program("prometheus"), f"--config.file={config}",
            f"--storage.tsdb.path={home.root / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}",
        ]  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        with running(argv, home.root, f"{url}/-/ready"):
            wait_for(lambda: query(url, 'up{job="kubecase"} == 1'), WITHIN)
            wait_for(lambda: all(each["health"] == "ok" for each in rules_of(url)), WITHIN)
            missing = {name for name in names_promised() if not query(url, name)}
            worked = query(url, 'agent_runtime_invocations_total{status="success"} == 1')
            rules = rules_of(url)

    assert checked.returncode == 0, checked.stderr
    # These begin with what they tell of: a source, and an agent that could be passed over.
    assert missing <= {
        "kubecase_source_connected", "kubecase_source_reconnections_total",
        "kubecase_circuit_breaker_state",
    }  # fmt: skip
    assert worked
    assert len(rules) == (ROOT / "configs/alerts.yaml").read_text().count("- alert:")


def test_promtool_accepts_the_scrape(home: Home) -> None:
    """What the running service serves at /metrics passes `promtool check metrics`."""
    promtool = program("promtool")
    settings(home, agent_runtime={"agent": "builtin"})
    with serving(home) as service:
        incident = service.fault()
        wait_for(lambda: service.incident(incident)["state"] == "done")
        scraped = httpx2.get(f"{service.url}/metrics", timeout=20).text

    done = subprocess.run(
        [promtool, "check", "metrics"], input=scraped.encode(), capture_output=True
    )

    assert (done.returncode, done.stderr) == (0, b"")
    assert list(text_string_to_metric_families(scraped))


def test_the_examples_are_what_their_programs_take(tmp_path: Path) -> None:
    """Both amtool and promtool accept the files in examples/monitoring."""
    amtool, promtool = program("amtool"), program("promtool")
    rules = tmp_path / "rules.yaml"
    rules.write_bytes((ROOT / "configs/alerts.yaml").read_bytes())
    config = from_example(
        "prometheus.yml", tmp_path / "prometheus.yml",
        **{"/etc/prometheus/kubecase-alerts.yaml": str(rules)},
    )  # fmt: skip

    results = [
        subprocess.run(argv, capture_output=True, text=True)
        for argv in (
            [amtool, "check-config", EXAMPLES / "alertmanager.yml"],
            [promtool, "check", "config", "--syntax-only", config],
        )
    ]

    assert [each.returncode for each in results] == [0, 0], results
