"""Certificates: run out, not trusted, for another name, or never issued."""

import re
from collections.abc import Iterator

from kubecase.core.report import Evidence
from kubecase.diagnosis.backends import hosts_in
from kubecase.diagnosis.facts import Key, Thing, title
from kubecase.diagnosis.finding import Finding, describe, found, get, kubectl, near_pods
from kubecase.diagnosis.graph import Graph, references
from kubecase.diagnosis.logs import Signal, words_of
from kubecase.diagnosis.pods import Container
from kubecase.diagnosis.values import maps, moment, text, texts

_KINDS = ("cert_expired", "cert_untrusted", "cert_name")
_BUNDLE = re.compile(r"\bca\b|ca-|-ca|bundle|trust|root|cert", re.IGNORECASE)


def rule(graph: Graph) -> Iterator[Finding]:
    """Findings for certificates and for programs that refuse one."""
    for certificate in graph.facts.of_kind("Certificate"):
        yield from _certificate(graph, certificate)
    for container in graph.containers:
        if container.pod.is_done:
            continue
        for signal in reversed(container.signals(*_KINDS)):
            if signal.weight >= 1.2:
                yield _from_log(graph, container, signal)
                break
    yield from _from_events(graph)


def _certificate(graph: Graph, certificate: Thing) -> Iterator[Finding]:
    ready = certificate.condition("Ready")
    ends = moment(certificate.raw, "status", "notAfter")
    age = graph.facts.age(ends)
    secret = text(certificate.raw, "spec", "secretName")
    if age is not None and age > 0:
        yield _expired(graph, certificate, secret)
    elif text(ready, "status") == "False" and (
        ends is None or graph.facts.thing("Secret", certificate.namespace, secret) is None
    ):
        yield _not_issued(graph, certificate, secret)


def _expired(graph: Graph, certificate: Thing, secret: str) -> Finding:
    why, proof = _why_not(graph, certificate)
    until = text(certificate.raw, "status", "notAfter")
    return found(
        "tls.cert_expired",
        f"{certificate.title} (Secret {secret}) expired at {until} and was not renewed{why}.",
        blamed=certificate.key,
        strength=0.95,
        about=_users(graph, certificate, secret),
        lasting=True,
        evidence=[
            certificate.states("status.notAfter", until),
            certificate.quote("status", "conditions", "message"),
            *proof,
        ],
        steps=(
            f"{kubectl('get', certificate.namespace)} certificate,certificaterequest",
            describe(certificate.key),
        ),
    )


def _not_issued(graph: Graph, certificate: Thing, secret: str) -> Finding:
    why, proof = _why_not(graph, certificate)
    ready = certificate.condition("Ready")
    said = text(ready, "message")
    issuer = text(certificate.raw, "spec", "issuerRef", "name")
    by = f" by issuer {issuer}" if issuer else ""
    return found(
        "tls.cert_not_issued",
        f"{certificate.title} was never issued{by}, so Secret {secret} does not exist{why}.",
        blamed=certificate.key,
        strength=0.96,
        about=_users(graph, certificate, secret),
        lasting=True,
        evidence=[
            certificate.states("message", said)
            if said
            else certificate.quote("status", "conditions", "reason"),
            *proof,
            certificate.states("spec.secretName", secret) if secret else None,
        ],
        steps=(
            f"{kubectl('describe', certificate.namespace)} certificaterequest",
            describe(certificate.key),
        ),
    )


def _why_not(graph: Graph, certificate: Thing) -> tuple[str, list[Evidence | None]]:
    """What its requests, orders and challenges say."""
    for kind in ("Challenge", "Order", "CertificateRequest"):
        for thing in graph.facts.of_kind(kind):
            if thing.namespace != certificate.namespace or not _belongs(graph, thing, certificate):
                continue
            for condition in maps(thing.raw, "status", "conditions"):
                if text(condition, "status") == "False" and text(condition, "message"):
                    said = text(condition, "message")
                    return f": {said[:220]}", [thing.states("message", said)]
            if reason := text(thing.raw, "status", "reason"):
                return f": {reason[:220]}", [thing.states("status.reason", reason)]
    issuer = (
        "ClusterIssuer"
        if text(certificate.raw, "spec", "issuerRef", "kind") == "ClusterIssuer"
        else "Issuer"
    )
    name = text(certificate.raw, "spec", "issuerRef", "name")
    place = "" if issuer == "ClusterIssuer" else certificate.namespace
    if name and graph.facts.of_kind(issuer) and graph.facts.thing(issuer, place, name) is None:
        return f": {issuer} {name} does not exist", [
            certificate.states("spec.issuerRef.name", name)
        ]
    events = [e for e in graph.facts.events_of(certificate.key) if e.warning]
    return (f": {events[0].message[:200]}", [events[0].quote()]) if events else ("", [])


def _belongs(graph: Graph, thing: Thing, certificate: Thing) -> bool:
    name = text(thing.raw, "metadata", "annotations", "cert-manager.io/certificate-name")
    return (
        name == certificate.name
        or certificate.key in set(graph.owners(thing.key))
        or thing.name.startswith(certificate.name)
    )


def _users(graph: Graph, certificate: Thing, secret: str) -> tuple[Key, ...]:
    about: list[Key] = [certificate.key, ("Secret", certificate.namespace, secret)]
    for pod in graph.pods:
        if pod.thing.namespace == certificate.namespace and ("Secret", secret) in {
            (kind, name) for kind, name, _ in references(pod.thing.raw.get("spec"))
        }:
            about += near_pods(graph, pod)
    for ingress in graph.facts.of_kind("Ingress"):
        if ingress.namespace == certificate.namespace and secret in {
            text(t, "secretName") for t in maps(ingress.raw, "spec", "tls")
        }:
            about.append(ingress.key)
    return tuple(about)


def _from_log(graph: Graph, container: Container, signal: Signal) -> Finding:
    root = graph.root_of(container.pod)
    host = next((h for h, _ in hosts_in(signal.line)), "")
    certificate = _certificate_for(graph, host, container)
    category, sentence, blamed = _meaning(graph, container, signal, host, certificate)
    return found(
        category,
        f"{title(root)}: container {container.name} fails because {sentence}: "
        f"{words_of(signal.line)[:220]}.",
        blamed=blamed or root,
        strength=0.92,
        about=near_pods(graph, container.pod),
        lasting=graph.facts.is_alert,
        evidence=[
            signal.quote(),
            certificate.quote("spec", "dnsNames") if certificate else None,
            container.state_quote(),
        ],
        steps=(f"{kubectl('get', container.pod.thing.namespace)} certificate,secret", get(root)),
    )


def _meaning(
    graph: Graph, container: Container, signal: Signal, host: str, certificate: Thing | None
) -> tuple[str, str, Key | None]:
    """The category, what is wrong in words, and what has to be changed, if not the program."""
    what = f" of {host}" if host else ""
    if signal.kind == "cert_expired":
        sentence = f"the certificate{what} has expired or is not yet valid"
        if certificate is not None:
            return "tls.cert_expired", sentence, certificate.key
        inside = graph.service_at(host, container.pod.thing.namespace) is not None
        outside = ("External", "", host) if "." in host and not inside else None
        return "tls.cert_expired", sentence, outside or _served_secret(graph, host, container)
    if signal.kind == "cert_name":
        held = ", ".join(texts(certificate.raw, "spec", "dnsNames"))[:160] if certificate else ""
        names = f" (it is for {held})" if held else ""
        sentence = f"the certificate{what} is not valid for the name used{names}"
        return "tls.name_mismatch", sentence, certificate.key if certificate else None
    bundle = _bundle(graph, container)
    by = f"; its CA bundle is {title(bundle)}" if bundle else ""
    sentence = f"the certificate authority (CA) of the certificate{what} is not trusted{by}"
    return "tls.cert_untrusted", sentence, bundle


def _certificate_for(graph: Graph, host: str, container: Container) -> Thing | None:
    """The Certificate that serves a host, by its names or by what its Service is called."""
    name = host.split(".", maxsplit=1)[0]
    for each in graph.facts.of_kind("Certificate"):
        names = set(texts(each.raw, "spec", "dnsNames"))
        if host and (host in names or name in {n.split(".")[0] for n in names}):
            return each
    own = [
        c
        for c in graph.facts.of_kind("Certificate")
        if c.namespace == container.pod.thing.namespace
    ]
    return own[0] if len(own) == 1 else None


def _served_secret(graph: Graph, host: str, container: Container) -> Key | None:
    """The Secret with the certificate that the pods behind a Service serve."""
    service = graph.service_at(host, container.pod.thing.namespace)
    for pod in graph.selected(service) if service else ():
        for kind, name, _ in references(pod.thing.raw.get("spec")):
            thing = graph.facts.thing(kind, pod.thing.namespace, name)
            if kind == "Secret" and thing is not None and text(thing.raw, "type").endswith("/tls"):
                return thing.key
    return None


def _bundle(graph: Graph, container: Container) -> Key | None:
    """The ConfigMap or Secret from which the program takes the authorities it trusts."""
    for kind, name, _ in references(container.pod.thing.raw.get("spec")):
        if kind in {"ConfigMap", "Secret"} and name != "kube-root-ca.crt" and _BUNDLE.search(name):
            return (kind, container.pod.thing.namespace, name)
    return None


def _from_events(graph: Graph) -> Iterator[Finding]:
    """An alert that says a certificate runs out, when no Certificate was collected."""
    said = graph.facts.trigger_text
    if (
        graph.facts.is_alert
        and re.search(r"certificate[^.]{0,80}(?:expire|has expired)", said, re.IGNORECASE)
        and not graph.facts.of_kind("Certificate")
    ):
        for secret in graph.facts.of_kind("Secret"):
            if secret.name in said:
                yield found(
                    "tls.cert_expired",
                    f"The certificate in {secret.title} has expired.",
                    blamed=secret.key,
                    strength=0.7,
                    about=(secret.key,),
                    evidence=[graph.facts.trigger_quote()],
                    steps=(describe(secret.key),),
                    lasting=True,
                )
