"""The rules, one module for each group of the catalogue of failures."""

from kubecase.diagnosis.finding import Rule
from kubecase.diagnosis.rules import (
    admission,
    autoscaling,
    controlplane,
    crashes,
    dependencies,
    hooks,
    image,
    network,
    nodes,
    probes,
    programs,
    references,
    resources,
    sandboxes,
    scheduling,
    services,
    storage,
    tls,
    workloads,
)

RULES: tuple[Rule, ...] = (
    image.rule,
    references.rule,
    programs.rule,
    scheduling.rule,
    resources.rule,
    probes.rule,
    hooks.rule,
    crashes.rule,
    dependencies.rule,
    network.rule,
    services.rule,
    storage.rule,
    admission.rule,
    nodes.rule,
    sandboxes.rule,
    workloads.rule,
    autoscaling.rule,
    tls.rule,
    controlplane.rule,
)
"""Every rule; their order does not matter."""
