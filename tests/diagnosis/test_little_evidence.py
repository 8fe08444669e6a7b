"""What is said when next to nothing was collected: modest, about the right object, and once."""

import re
from typing import Any

import pytest

from kubecase.core.model import Collection, Gap
from kubecase.core.report import Culprit, Hypothesis, Report, report_as_json
from kubecase.diagnosis import diagnose

from .clusters import NOW
from .corpus import misplaced
from .recordings import RECORDED, collection, recorded_inputs
from .test_scenarios import BY_NAME

NOTHING = Gap(what="everything else", why="no cluster and no recording was given")


def event(message: str, reason: str = "Failed", kind: str = "Pod", name: str = "api-0") -> Any:
    """An event about an object of namespace `shop`."""
    about = {"kind": kind, "name": name, "namespace": "shop"}
    return {
        "kind": "Event",
        "metadata": {"name": "e", "namespace": "shop"},
        "involvedObject": about,
        "reason": reason,
        "message": message,
        "type": "Warning",
    }


def alert(annotations: dict[str, str] | None = None, **labels: str) -> Any:
    """An alert in namespace `shop`."""
    return {
        "kind": "Alert",
        "labels": {"alertname": "SomethingWrong", "namespace": "shop", **labels},
        "annotations": annotations or {"summary": "it has not been well for 15 minutes"},
    }


def inputs(trigger: Any, logs: dict[str, str] | None = None) -> dict[str, Any]:
    """The inputs of a case without objects."""
    return {
        "collected_at": NOW.isoformat(),
        "event": trigger,
        "objects": [],
        "events": [],
        "logs": logs or {},
    }


def best_of(case: dict[str, Any]) -> Hypothesis:
    """The first hypothesis, after a look at its quotes."""
    report = diagnose(collection(case))
    assert misplaced(case, report) == []
    assert report.best
    return report.best


def silent(trigger: Any) -> Report:
    """The report about a cluster where nobody listens."""
    gaps = (
        Gap(what="Pod/shop/api-0", why="cannot be reached: connection refused"),
        Gap(what="everything else", why="the cluster gives no answer"),
    )
    return diagnose(Collection(collected_at=NOW, trigger=trigger, gaps=gaps))


@pytest.mark.parametrize(
    ("labels", "about"),
    [
        ({"deployment": "catalog"}, "Deployment shop/catalog"),
        ({"service": "tiles"}, "Service shop/tiles"),
        ({"statefulset": "db", "service": "metrics"}, "StatefulSet shop/db"),
        ({"node": "n1"}, "Node n1"),
        ({}, "Namespace shop"),
    ],
)
def test_an_alert_is_about_what_its_labels_name(labels: dict[str, str], about: str) -> None:
    """An alert about an object of which nothing is known is not worked as one about a namespace."""
    assert best_of(inputs(alert(**labels))).root_cause == (
        f"No cause found for {about}: not enough evidence"
    )


def test_an_alert_is_about_what_it_was_taken_for() -> None:
    """The object that an alert was read as counts more than what its labels may also mean."""
    trigger = alert(service="metrics")
    trigger["resource"] = {"kind": "Deployment", "name": "catalog", "namespace": "shop"}

    assert "Deployment shop/catalog" in best_of(inputs(trigger)).root_cause


@pytest.mark.parametrize(
    ("log", "category", "culprit"),
    [
        (
            "connecting to orders-db:5432\npanic: connection refused\n",
            "dependency.unavailable",
            Culprit(kind="External", namespace="", name="orders-db"),
        ),
        (
            "KeyError: 'DATABASE_URL'\n",
            "config.missing_env",
            Culprit(kind="Pod", namespace="shop", name="api-0"),
        ),
        (
            "Traceback (most recent call last):\nIndexError: list index out of range\n",
            "app.crash",
            Culprit(kind="Pod", namespace="shop", name="api-0"),
        ),
    ],
)
def test_a_log_without_its_pod_is_read(log: str, category: str, culprit: Culprit) -> None:
    """A log that came alone names a cause, modestly and saying that it stands alone."""
    case = inputs(event("container api ended", "PodCrash"), {"shop/api-0/api/previous": log})

    best = best_of(case)

    assert (best.category, best.culprit) == (category, culprit)
    assert 0.3 <= best.confidence <= 0.6
    assert "judged by its log alone" in best.root_cause
    assert best.next_steps[0] == "kubectl -n shop logs api-0 -c api --previous"


def test_a_calm_log_without_its_pod_names_nothing() -> None:
    """A log in which nothing is wrong is no reason to name a cause."""
    case = inputs(event("x", "PodCrash"), {"shop/api-0/api": "INFO listening on :8080\n"})

    assert best_of(case).category == "unknown.insufficient_evidence"


@pytest.mark.parametrize(
    ("reason", "message", "category"),
    [
        ("Failed", "Failed to pull image \"r.example/a:1\": r.example/a:1: not found",
         "image.not_found"),
        ("Failed", "Failed to pull image \"a\": 401 Unauthorized", "image.auth_failed"),
        ("Failed", "Failed to pull image \"a\": dial tcp: lookup r.example: no such host",
         "image.registry_unreachable"),
        ("ImagePullBackOff", "container api waits", "image.not_found"),
        ("InvalidImageName", "container api waits", "image.invalid_reference"),
        ("PodCrash", "container api was OOMKilled", "resources.oom_killed"),
        ("OOMKilled", "container api was killed", "resources.oom_killed"),
        ("FailedScheduling", ("0/3 nodes are available: 1 node(s) had untolerated taint "
         "{node-role.kubernetes.io/control-plane: }, 2 Insufficient cpu. preemption: 0/3 nodes "
         "are available: 3 Preemption is not helpful for scheduling."),
         "scheduling.insufficient_resources"),
        ("FailedScheduling", ("0/4 nodes are available: 1 Insufficient memory, 3 node(s) didn't "
         "match Pod's node affinity/selector."), "scheduling.node_affinity"),
        ("FailedScheduling", ("0/2 nodes are available: pod has unbound immediate "
         "PersistentVolumeClaims."), "storage.pvc_unbound"),
        ("CrashLoop", "container api keeps ending with exit code 3", "app.crash"),
        ("CrashLoop", "container api exited with code 139", "app.native_crash"),
        ("CrashLoop", "container api: exit status 127", "config.bad_command"),
    ],
)  # fmt: skip
def test_a_bare_message_that_names_its_cause_is_heard(
    reason: str, message: str, category: str
) -> None:
    """An event without any object still names the cause that it names itself, modestly."""
    best = best_of(inputs(event(message, reason)))

    assert best.category == category
    assert best.culprit == Culprit(kind="Pod", namespace="shop", name="api-0")
    assert 0.3 <= best.confidence <= 0.6
    assert {each.source for each in best.evidence} == {f"event:{reason}"}


@pytest.mark.parametrize(
    ("message", "category", "culprit"),
    [
        ('storageclass.storage.k8s.io "fast" not found', "storage.class_missing",
         Culprit(kind="StorageClass", namespace="", name="fast")),
        ('MountVolume.SetUp failed for volume "c" : configmap "settings" not found',
         "config.missing_configmap", Culprit(kind="ConfigMap", namespace="shop", name="settings")),
        ("couldn't find key url in Secret shop/db", "config.missing_key",
         Culprit(kind="Secret", namespace="shop", name="db")),
    ],
)  # fmt: skip
def test_a_bare_message_names_what_is_missing(
    message: str, category: str, culprit: Culprit
) -> None:
    """An object that a message calls missing is the culprit."""
    best = best_of(inputs(event(message)))

    assert (best.category, best.culprit) == (category, culprit)


@pytest.mark.parametrize(
    "message",
    [
        "Back-off restarting failed container",
        "container api ended with exit code 137",
        "container api ended with exit code 0",
        "Job has reached the specified backoff limit",
        'Successfully pulled image "a" in 2s',
    ],
)
def test_a_message_that_names_no_cause_is_not_stretched(message: str) -> None:
    """What only says that something is wrong, or leaves the cause open, names nothing."""
    best = best_of(inputs(event(message, "BackOff")))

    assert best.category == "unknown.insufficient_evidence"


def test_an_alert_that_names_its_cause_is_quoted_as_alert() -> None:
    """The words of an alert are heard too, and quoted as those of the alert."""
    best = best_of(inputs(alert({"description": "container app was OOMKilled"}, pod="api-0")))

    assert best.category == "resources.oom_killed"
    assert [each.source for each in best.evidence] == ["alert"]


def test_what_is_missing_is_said_once_and_briefly() -> None:
    """Without a cause the hypothesis is short, and only the summary says what is missing."""
    made = Collection(
        collected_at=NOW,
        trigger=event("Back-off restarting failed container", "BackOff"),
        events=(event("Back-off again", "BackOff") | {"metadata": {"name": "other"}},),
        gaps=(NOTHING, *(Gap(what=f"thing {n}", why="403: no") for n in range(5))),
    )

    report = diagnose(made)

    assert report.best
    assert report.best.root_cause == "No cause found for Pod shop/api-0: not enough evidence"
    sentences = re.split(r"(?<=\.) ", report.summary)
    assert sentences[0] == f"{report.best.root_cause} in 0 objects, 1 event and 0 logs."
    assert sentences[-1] == "Run next: kubectl -n shop describe pod api-0."
    assert 1 <= len(sentences[1:-1]) <= 3
    assert "No cluster and no recording was given." in sentences


def test_a_trigger_is_not_counted_as_collected() -> None:
    """The event that began it is not among the events looked at."""
    report = diagnose(Collection(collected_at=NOW, trigger=event("Back-off", "BackOff")))

    assert "0 objects, 0 events and 0 logs" in report.summary


def test_the_next_step_is_where_the_evidence_was() -> None:
    """Where the present log tells the cause, and no other was had, no other is asked for."""
    case = recorded_inputs(RECORDED / "crashloop")

    best = best_of(case)

    assert any(e.source.startswith("log:") for e in best.evidence)
    assert "--previous" not in str(report_as_json(diagnose(collection(case))))


def test_the_run_before_is_asked_for_where_it_told() -> None:
    """Where the log of the run before told the cause, that log is the next step."""
    case = BY_NAME["a_go_program_with_a_nil_pointer"].cluster().inputs()
    present = {key.removesuffix("/previous"): log for key, log in case["logs"].items()}
    told = {f"{key}/previous": log for key, log in present.items()}

    then, now = best_of({**case, "logs": told}), best_of({**case, "logs": present})

    assert then.next_steps[0].endswith(" --previous")
    assert now.next_steps[0] == then.next_steps[0].replace("--previous", "--tail=50")


@pytest.mark.parametrize("message", ["Back-off", "container api was OOMKilled"])
def test_a_cluster_that_gives_no_answer_is_said_first(message: str) -> None:
    """A dead cluster is the first thing said, and the first steps find out why it is dead."""
    report = silent(event(message, "PodCrash"))

    assert report.summary.startswith("The cluster cannot be reached: connection refused. ")
    assert report.best
    assert report.best.next_steps[0] == "kubectl config view --minify"
    assert not all("describe" in step for step in report.best.next_steps)
    assert len(re.findall(r"cannot be reached", report.summary)) == 1


def test_a_cluster_that_answered_in_part_is_not_called_silent() -> None:
    """Where events were had, one answer that stayed out is a gap like any other."""
    made = Collection(
        collected_at=NOW,
        trigger=event("Back-off", "BackOff"),
        events=(event("Back-off", "BackOff"),),
        gaps=(Gap(what="log of app", why="no answer within 5 s"),),
    )

    assert diagnose(made).summary.startswith("No cause found for Pod shop/api-0")


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("no answer within 5 s", "The cluster gave no answer within 5 s. "),
        ("the cluster gives no answer", "The cluster gives no answer. "),
    ],
)
def test_a_silent_cluster_is_spoken_of_in_a_sentence(why: str, said: str) -> None:
    """However the silence was noticed, the first sentence is one that a person would say."""
    made = Collection(collected_at=NOW, trigger=event("x"), gaps=(Gap(what="Pod", why=why),))

    assert diagnose(made).summary.startswith(said)
