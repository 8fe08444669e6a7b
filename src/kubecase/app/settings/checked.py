"""Checks what was gathered against the model, and hands it inward as plain values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from kubecase.app.settings.agent_runtime import AgentRuntimeSection, SkillSection
from kubecase.app.settings.container import ContainerSection
from kubecase.app.settings.document import Steps, shown
from kubecase.app.settings.environment import nearest
from kubecase.app.settings.loading import Gathered
from kubecase.app.settings.model import (
    LATER,
    AgentSection,
    BudgetSection,
    ClusterSection,
    Document,
    ModelSection,
    StoreSection,
)
from kubecase.app.settings.service import LimitsSection, SilenceSection, SourceSection
from kubecase.app.settings.sinks import SinkSection
from kubecase.app.settings.values import (
    SERVICE_DIRECTORY,
    AgentOptions,
    AgentRuntimeSettings,
    BudgetOptions,
    ClusterOptions,
    ContainerSettings,
    LimitsSettings,
    ModelOptions,
    Settings,
    SilenceOptions,
    SinkSettings,
    Skill,
    SourceOptions,
    StoreSettings,
)
from kubecase.app.settings.web import TokenSection, WebSection, web_settings
from kubecase.app.settings.web_values import WebSettings
from kubecase.core.ports import Credential

_SECTIONS: Mapping[str, type[BaseModel]] = {
    "agent_runtime": AgentRuntimeSection,
    "agents": AgentSection,
    "clusters": ClusterSection,
    "models": ModelSection,
    "budgets": BudgetSection,
    "sources": SourceSection,
    "limits": LimitsSection,
    "sinks": SinkSection,
    "web": WebSection,
    "container": ContainerSection,
    "store": StoreSection,
}

_LISTED: Mapping[str, type[BaseModel]] = {
    "skills": SkillSection,
    "silences": SilenceSection,
    "tokens": TokenSection,
}
"""Options that are lists of mappings."""


def settings_from(
    gathered: Gathered, keys: Mapping[str, Credential], *, service: bool
) -> Settings | None:
    """What was gathered as settings, or `None` after adding to its findings why not."""
    tree = dict(gathered.tree)
    for section in LATER:
        if section in tree:
            del tree[section]
            gathered.finding(
                (section,), "this section is not available in this version", of_key=True
            )
    try:
        document = Document.model_validate(tree)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_context=True):
            _add_finding(gathered, each)
        return None
    return _Settings(gathered, service).settings(document, keys)


def _add_finding(gathered: Gathered, error: Any) -> None:
    steps: Steps = error["loc"]
    kind = error["type"]
    if kind == "extra_forbidden":
        gathered.finding(steps, _unknown_key(steps), of_key=True)
    elif steps and steps[-1] == "[key]":
        gathered.finding(steps[:-1], f"{shown(str(steps[-2]))} is not a name for this", of_key=True)
    elif error["input"] is None:
        gathered.finding(steps, "has no value", of_key=True)
    elif kind == "value_error":
        gathered.finding(steps, str(error["ctx"]["error"]))
    elif kind == "missing":
        gathered.finding(steps, "is missing")
    elif kind in {"model_type", "dict_type", "model_attributes_type"}:
        gathered.finding(steps, "must be a mapping of options")
    else:
        gathered.finding(steps, str(error["msg"])[:1].lower() + str(error["msg"])[1:])


def _unknown_key(steps: Steps) -> str:
    """What to say of a key that does not exist. Its value is never quoted: it may be a secret."""
    key = str(steps[-1])
    if len(steps) == 1:
        owner = next((s for s, m in _SECTIONS.items() if key in m.model_fields), None)
        if owner is not None:
            return f"unknown section; {key} belongs under `{owner}`"
        known, what = [*Document.model_fields, *LATER], "unknown section"
    else:
        model = next(
            (each for key, each in _LISTED.items() if key in steps), _SECTIONS[str(steps[0])]
        )
        known, what = list(model.model_fields), "unknown key"
    near = nearest(key, known)
    return what + (f"; did you mean {near}?" if near else f"; known are {', '.join(known)}")


def _limits(section: LimitsSection) -> LimitsSettings:
    silences = tuple(SilenceOptions(**each.model_dump()) for each in section.silences)
    return LimitsSettings(**{**section.model_dump(), "silences": silences})


class _Settings:
    """Turns a valid document into plain values; paths become absolute."""

    def __init__(self, gathered: Gathered, service: bool) -> None:
        self.gathered = gathered
        self.service = service

    def settings(self, document: Document, keys: Mapping[str, Credential]) -> Settings | None:
        runtime = self.agent_runtime(document.agent_runtime)
        data_dir = self.directory("store.data_dir", document.store.data_dir, ".")
        clusters = {name: self.cluster(name, each) for name, each in document.clusters.items()}
        if runtime is None or data_dir is None:
            return None
        return Settings(
            agent_runtime=runtime,
            agents={name: self.agent(name, each) for name, each in document.agents.items()},
            clusters=clusters,
            container=ContainerSettings(
                **{**document.container.model_dump(), "mounts": tuple(document.container.mounts)}
            ),
            limits=_limits(document.limits),
            web=self.web(document.web),
            sources={name: self.source(name, each) for name, each in document.sources.items()},
            store=StoreSettings(url=document.store.url, data_dir=data_dir),
            model_keys=dict(keys),
            host=self.gathered.host,
            models={name: self.model(name, each) for name, each in document.models.items()},
            sinks={
                name: self.sink(name, each)
                for name, each in document.sinks.items()
                if name in self.gathered.sink_secrets
            },
            budgets={n: BudgetOptions(**each.model_dump()) for n, each in document.budgets.items()},
        )

    def agent_runtime(self, section: AgentRuntimeSection) -> AgentRuntimeSettings | None:
        root = self.directory("agent_runtime.workspace_root", section.workspace_root, "workspaces")
        skills = self.path("agent_runtime.skills_source", section.skills_source)
        kubeconfig = self.path("agent_runtime.kubeconfig_path", section.kubeconfig_path)
        found = [self.path("agent_runtime.read_only_paths", p) for p in section.read_only_paths]
        if root is None:
            return None
        return AgentRuntimeSettings(
            agent=section.agent,
            agent_command=self.command("agent_runtime.agent_command", section.agent_command),
            workspace_root=root,
            workspace_retention_seconds=section.workspace_retention_hours,
            max_duration_seconds=section.max_duration_minutes,
            graceful_shutdown_seconds=section.graceful_shutdown_seconds,
            idle_timeout_seconds=section.idle_timeout,
            max_output_bytes=section.max_output,
            max_disk_bytes=section.max_disk,
            isolation=section.isolation,
            isolation_min=section.isolation_min,
            agent_user=section.agent_user,
            network=section.network,
            read_only_paths=tuple(filter(None, found)),
            when_supervisor_dies=section.when_supervisor_dies,
            require_report=section.require_report,
            cleanup_policy=section.cleanup_policy,
            min_free_bytes=section.min_free_space,
            gc_interval_seconds=section.gc_interval,
            retries=section.retries,
            retry_delay_seconds=section.retry_delay,
            fallback=tuple(section.fallback),
            agents=tuple(section.agents),
            agents_order=section.agents_order,
            model_failures=section.model_failures,
            self_test=section.self_test,
            breaker_failures=section.breaker_failures,
            breaker_cooldown_seconds=section.breaker_cooldown,
            allow_write_capable_credential=section.allow_write_capable_credential,
            skills_source=skills,
            skills_sources=self.skills_sources(section.skills_sources),
            skills=tuple(Skill(name=each.name, enabled=each.enabled) for each in section.skills),
            read_only_mode=section.read_only_mode,
            allowed_tools=_tuple_or_none(section.allowed_tools),
            kubeconfig_path=kubeconfig,
            metrics_enabled=section.metrics_enabled,
            structured_logging=section.structured_logging,
            log_level=section.log_level,
        )

    def cluster(self, name: str, section: ClusterSection) -> ClusterOptions:
        key = f"clusters.{name}.kubeconfig"
        return ClusterOptions(
            kubeconfig=self.path(key, section.kubeconfig),
            context=section.context,
            in_cluster=section.in_cluster,
            extra_resources=tuple(section.extra_resources),
            max_requests=section.max_requests,
            max_answers=section.max_answers,
            watch=section.watch,
            triage=section.triage,
            agent=section.agent,
            at_once=section.at_once,
            environment=section.environment,
            min_severity=section.min_severity,
            namespaces=tuple(section.namespaces),
            excluded_namespaces=tuple(section.excluded_namespaces),
        )

    def web(self, section: WebSection) -> WebSettings:
        if (section.tls_cert is None) != (section.tls_key is None):
            missing = "tls_key" if section.tls_key is None else "tls_cert"
            self.gathered.finding(("web",), f"has no {missing}, and one does not go without other")
        return web_settings(
            section,
            tls_cert=self.path("web.tls_cert", section.tls_cert),
            tls_key=self.path("web.tls_key", section.tls_key),
        )

    def source(self, name: str, section: SourceSection) -> SourceOptions:
        at = f"sources.{name}"
        needed = {"mcp": "url", "directory": "path"}[section.kind]
        if getattr(section, needed) is None:
            self.gathered.finding(("sources", name), f"has no {needed}, which {section.kind} needs")
        return SourceOptions(
            kind=section.kind,
            cluster=section.cluster,
            url=section.url,
            token_env=section.token_env,
            token_file=self.path(f"{at}.token_file", section.token_file),
            path=self.path(f"{at}.path", section.path),
            token=self.gathered.source_tokens.get(name),
        )

    def model(self, name: str, section: ModelSection) -> ModelOptions:
        at = f"models.{name}"
        return ModelOptions(
            protocol=section.protocol,
            base_url=section.base_url,
            auth=section.auth,
            key_env=section.key_env,
            key_file=self.path(f"{at}.key_file", section.key_file),
            key=self.gathered.upstream_keys.get(name),
            ca=self.path(f"{at}.ca", section.ca),
            proxy=section.proxy,
            allowed_models=tuple(section.allowed_models),
            prices=self.path(f"{at}.prices", section.prices),
        )

    def agent(self, name: str, section: AgentSection) -> AgentOptions:
        command = self.command(f"agents.{name}.command", section.command)
        return AgentOptions(**{**section.model_dump(), "command": command})

    def sink(self, name: str, section: SinkSection) -> SinkSettings:
        at = f"sinks.{name}"
        return SinkSettings(
            kind=section.kind,
            secrets=self.gathered.sink_secrets[name],
            min_severity=section.min_severity,
            clusters=tuple(section.clusters),
            on=tuple(section.on),
            url_env=section.url_env,
            url_file=self.path(f"{at}.url_file", section.url_file),
            secret_env=section.secret_env,
            secret_file=self.path(f"{at}.secret_file", section.secret_file),
            proxy=section.proxy,
            ca=self.path(f"{at}.ca", section.ca),
        )

    def command(self, key: str, argv: list[str] | None) -> tuple[str, ...] | None:
        """The argv; a program that is given with a slash or `~` becomes an absolute path."""
        if not argv:
            return None
        if "/" not in argv[0] and not argv[0].startswith("~"):
            return tuple(argv)
        program = self.path(key, argv[0])
        return None if program is None else (str(program), *argv[1:])

    def path(self, key: str, value: str | None) -> Path | None:
        if value is None:
            return None
        try:
            return self.gathered.path(key, value)
        except ValueError as error:
            self.gathered.finding(tuple(key.split(".")), str(error))
            return None

    def skills_sources(self, given: list[str]) -> "tuple[Path | Literal['shipped'], ...]":
        """The sources of skills: paths, or the word for those that are shipped."""
        found: list[Path | Literal["shipped"]] = []
        for each in given:
            path = self.path("agent_runtime.skills_sources", each)
            if path is not None:
                found.append("shipped" if each == "shipped" else path)
        return tuple(found)

    def directory(self, key: str, value: str | None, below: str) -> Path | None:
        """`value` of `key`, else `below` the directory that is the default here."""
        if value is not None:
            return self.path(key, value)
        base = SERVICE_DIRECTORY if self.service else self.gathered.host.user_data_dir
        if base is None:
            self.gathered.finding(
                tuple(key.split(".")), "has no default here: neither HOME nor XDG_DATA_HOME is set"
            )
            return None
        return base / below


def _tuple_or_none(texts: list[str] | None) -> tuple[str, ...] | None:
    return None if texts is None else tuple(texts)
