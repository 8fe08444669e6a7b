"""Asks a cluster what our own credential may do, before anything else is asked of it.

The subresource is always set explicitly: `pods/exec` as a resource is read as "the pod called
exec", and answered with yes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import anyio

from kubecase.clusters.client import ApiFailure, ClusterClient
from kubecase.core.errors import ClusterUnavailable
from kubecase.core.permissions import Permissions

SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One thing that may be allowed: a verb on a resource, with its subresource if any."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""

    def attributes(self, namespace: str | None) -> dict[str, str]:
        """The same for the API; in all namespaces where none is given."""
        return {
            "verb": self.verb,
            "group": self.group,
            "resource": self.resource,
            "subresource": self.subresource,
            **({} if namespace is None else {"namespace": namespace}),
        }


READS: Mapping[str, Question] = {
    "can_get_pods": Question(verb="get", resource="pods"),
    "can_get_logs": Question(verb="get", resource="pods", subresource="log"),
    "can_get_events": Question(verb="list", resource="events"),
    "can_get_deployments": Question(verb="get", resource="deployments", group="apps"),
    "can_get_services": Question(verb="get", resource="services"),
    "can_get_configmaps": Question(verb="get", resource="configmaps"),
    "can_get_nodes": Question(verb="get", resource="nodes"),
}
SECRETS = (Question(verb="get", resource="secrets"), Question(verb="list", resource="secrets"))
WRITES: Mapping[str, tuple[Question, ...]] = {
    "create": (Question(verb="create", resource="pods"),
               Question(verb="create", resource="deployments", group="apps"),
               Question(verb="create", resource="pods", subresource="ephemeralcontainers")),
    "update": (Question(verb="update", resource="pods"),
               Question(verb="update", resource="deployments", group="apps"),
               Question(verb="update", resource="configmaps"),
               Question(verb="update", resource="pods", subresource="ephemeralcontainers")),
    "patch": (Question(verb="patch", resource="pods"),
              Question(verb="patch", resource="deployments", group="apps"),
              Question(verb="patch", resource="pods", subresource="ephemeralcontainers")),
    "delete": (Question(verb="delete", resource="pods"),
               Question(verb="delete", resource="deployments", group="apps")),
    "exec": (Question(verb="create", resource="pods", subresource="exec"),
             Question(verb="get", resource="pods", subresource="exec"),
             Question(verb="create", resource="pods", subresource="portforward")),
}  # fmt: skip
"""Any one of them makes the word true."""

EVERYTHING = Question(verb="*", resource="*", group="*")
"""What makes all words of `WRITES` true."""

DANGERS: Mapping[str, Question] = {
    "can issue tokens for service accounts": Question(
        verb="create", resource="serviceaccounts", subresource="token"
    ),
    "can impersonate users": Question(verb="impersonate", resource="users"),
    "can reach kubelets through nodes/proxy": Question(
        verb="get", resource="nodes", subresource="proxy"
    ),
}
"""What is no word of `can_write`, and no business of a reader either."""

_LACKS = {
    "can_get_pods": "cannot get pods",
    "can_get_logs": "cannot get pod logs",
    "can_get_events": "cannot list events",
    "can_get_deployments": "cannot get deployments",
    "can_get_services": "cannot get services",
    "can_get_configmaps": "cannot get configmaps",
    "can_get_nodes": "cannot get nodes (cluster-wide visibility limited)",
}


async def preflight(
    client: ClusterClient, *, cluster: str, namespace: str | None, at: datetime
) -> Permissions:
    """What the credential of `client` may do in `namespace` (None: everywhere).

    Never raises for what a cluster does: what was not answered within ten seconds is None, and a
    warning says why.
    """
    answers: dict[Question, bool] = {}
    failures: list[str] = []

    async def ask(question: Question) -> None:
        where = None if question.resource == "nodes" else namespace
        try:
            answers[question] = await client.may(question.attributes(where))
        except ApiFailure as error:
            failures.append(str(error))

    # Writes early: where time runs out, a credential that can write is found out all the same.
    wanted = [READS["can_get_pods"], EVERYTHING]
    wanted += [each for questions in WRITES.values() for each in questions]
    wanted += [*DANGERS.values(), *SECRETS, *READS.values()]
    wanted = list(dict.fromkeys(wanted))
    with anyio.move_on_after(SECONDS) as bound:
        try:
            await client.sign_in()
            await ask(wanted[0])
            # Where the first is not answered, the others would only take time.
            rest = () if failures else wanted[1:]
            async with anyio.create_task_group() as group:
                for question in rest:
                    group.start_soon(ask, question)
        except ClusterUnavailable as error:
            failures.append(str(error))
    if bound.cancelled_caught:
        failures.append(f"no answer within {SECONDS:g} s")
    return _permissions(answers, failures, cluster=cluster, at=at)


def _permissions(
    answers: Mapping[Question, bool], failures: list[str], *, cluster: str, at: datetime
) -> Permissions:
    said: dict[str, bool | None] = {name: answers.get(question) for name, question in READS.items()}
    secrets = [answers[each] for each in SECRETS if each in answers]
    said["can_get_secrets"] = answers.get(SECRETS[0])
    said["secrets_access_allowed"] = any(secrets) if secrets else None
    writes = tuple(
        word
        for word, each in WRITES.items()
        if any(answers.get(question) for question in (EVERYTHING, *each))
    )
    warnings = [_LACKS[name] for name in _LACKS if said[name] is False]
    if writes:
        warnings.append(f"can write: {', '.join(writes)}")
    if said["secrets_access_allowed"]:
        warnings.append("can read secrets")
    warnings += [words for words, question in DANGERS.items() if answers.get(question)]
    if failures:
        warnings.append(f"not everything was validated: {failures[0]}")
    asked = (EVERYTHING, *(question for each in WRITES.values() for question in each))
    unproven = None
    if any(question not in answers for question in asked):
        unproven = failures[0] if failures else "not every question was answered"
    return Permissions(
        cluster=cluster, at=at, answers=said, can_write=writes, warnings=tuple(warnings),
        unproven=unproven,
    )  # fmt: skip


def write_capable(permissions: Permissions) -> ClusterUnavailable:
    """The refusal of a credential that can write, which names the commands that make another; or
    of one of which that is not known.
    """
    words = ", ".join(permissions.can_write)
    if not words:
        return ClusterUnavailable(
            f"it is not known whether the credential for the cluster {permissions.cluster} can "
            f"write ({permissions.unproven}), no gateway stands between, and "
            "agent_runtime.read_only_mode is on",
            hint="Try again once the cluster answers; `kubecase doctor` asks it the same. Or allow "
            "it: --allow-write-capable for one run, "
            "agent_runtime.allow_write_capable_credential for all.",
        )
    return ClusterUnavailable(
        f"the credential for the cluster {permissions.cluster} can write ({words}), and "
        "agent_runtime.read_only_mode is on",
        hint="Make a read-only one: `kubecase rbac | kubectl apply -f -`, then `kubecase "
        "kubeconfig --out FILE`. Or allow it, since the gateway lets nothing but reading through: "
        "--allow-write-capable for one run, agent_runtime.allow_write_capable_credential for all.",
    )
