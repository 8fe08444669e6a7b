"""Which options there are, and by which names the environment may set them."""

from collections.abc import Mapping


def model_keys() -> Mapping[str, str]:
    """The options that hold model keys, and the name that CLIs read each by."""
    from kubecase.app.settings.model import MODEL_KEYS

    return MODEL_KEYS


def sections() -> Mapping[str, frozenset[str]]:
    """The options of every section that is one mapping."""
    from kubecase.app.settings.agent_runtime import AgentRuntimeSection
    from kubecase.app.settings.container import ContainerSection
    from kubecase.app.settings.model import StoreSection
    from kubecase.app.settings.service import LimitsSection
    from kubecase.app.settings.web import WebSection

    return {
        "agent_runtime": frozenset(AgentRuntimeSection.model_fields),
        "container": frozenset(ContainerSection.model_fields),
        "store": frozenset(StoreSection.model_fields),
        "limits": frozenset(LimitsSection.model_fields),
        "web": frozenset(WebSection.model_fields),
    }


def nested() -> Mapping[str, frozenset[str]]:
    """The options below each name, of every section that is a mapping by name."""
    from kubecase.app.settings.model import (
        AgentSection,
        BudgetSection,
        ClusterSection,
        ModelSection,
    )
    from kubecase.app.settings.service import SourceSection
    from kubecase.app.settings.sinks import SinkSection

    return {
        "agents": frozenset(AgentSection.model_fields),
        "clusters": frozenset(ClusterSection.model_fields),
        "models": frozenset(ModelSection.model_fields),
        "budgets": frozenset(BudgetSection.model_fields),
        "sources": frozenset(SourceSection.model_fields),
        "sinks": frozenset(SinkSection.model_fields),
    }


def is_known(path: tuple[str, ...]) -> bool:
    """Whether an option stands at `path`."""
    if len(path) == 2:
        return path[1] in sections().get(path[0], ())
    return len(path) == 3 and path[2] in nested().get(path[0], ())


def variables() -> Mapping[str, tuple[str, str]]:
    """The option that each variable sets; names of their own stand before the generic ones."""
    from kubecase.app.settings.agent_runtime import AgentRuntimeSection

    known: dict[str, tuple[str, str]] = {}
    for key, field in AgentRuntimeSection.model_fields.items():
        extra = field.json_schema_extra
        own = extra.get("environment", []) if isinstance(extra, dict) else []
        for name in own if isinstance(own, list) else []:
            known[str(name)] = ("agent_runtime", key)
    for section, keys in sections().items():
        for key in sorted(keys):
            known[generic_name(section, key)] = (section, key)
    return known


def generic_name(section: str, key: str) -> str:
    """The variable that sets `key` of `section`, whatever other names it has."""
    return f"KUBECASE_{section}__{key}".upper()
