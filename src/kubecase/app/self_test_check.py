"""What `kubecase doctor --self-test` finds out about each agent's CLI that is installed."""

from dataclasses import replace

from kubecase.app import plugins, wiring
from kubecase.app.containment import contain
from kubecase.app.findings import Finding
from kubecase.app.readiness import Readiness, require_passed, require_tested
from kubecase.app.settings import Settings
from kubecase.app.versions import versions_of
from kubecase.core.errors import AgentUnavailable, KubecaseError
from kubecase.core.ports import Agent, Credential, Silence


async def self_test_findings(settings: Settings, name: str | None) -> list[Finding]:
    """One finding for each agent, or for the one called `name`. Raises AgentUnavailable for a name
    of none that could be tried.
    """
    if name is not None and name not in MODEL:
        raise AgentUnavailable(
            f"cannot try the agent {name!r}: it has no self-test",
            hint=f"Agents with one are: {', '.join(sorted(MODEL))}.",
        )
    return [
        await _finding(each, settings, needed=each == name)
        for each in (sorted(MODEL) if name is None else [name])
    ]


async def _finding(name: str, settings: Settings, *, needed: bool) -> Finding:
    what = f"self-test {name}"
    try:
        agent = _agent(name, settings)
    except AgentUnavailable as error:
        return Finding(
            what=what, state="missing" if needed else "note", says=str(error), remedy=error.hint,
            needed=needed,
        )  # fmt: skip
    try:
        says = await _tried(name, agent, settings)
    except KubecaseError as error:
        return Finding(what=what, state="missing", says=str(error), remedy=error.hint, needed=True)
    return Finding(what=what, state="ok", says=says)


def _agent(name: str, settings: Settings) -> Agent:
    """The adapter, with what a trial does without: a key, and a model of its own choice."""
    options = wiring.agent_settings(name, settings)
    key = Credential(variable=wiring.KEYS[name], value="none")
    return plugins.agent(name, replace(options, credential=key, model=options.model or MODEL[name]))


MODEL = {
    "claude": "claude-sonnet-4-5",
    "codex": "gpt-5",
    "gemini": "gemini-2.5-pro",
    "goose": "gpt-5",
    "opencode": "gpt-5",
}
"""The agents that are tried, and what each is asked where the settings
name no model; it is scripted all the same."""


async def _tried(name: str, agent: Agent, settings: Settings) -> str:
    contained = contain(settings, served=True, agent=name)
    choice = wiring.Choice(name=name, agent=agent, why="to be tried", chosen=False)
    readiness = Readiness(
        agent=agent, choice=choice, settings=settings, contained=contained, observer=Silence()
    )
    program = readiness.program
    if program is None:
        return "its program lies in an image, and is not tried"
    version = versions_of(settings).of(program)
    if version is not None:
        require_tested(name, version)
    tested = await readiness.tested(again=True)
    require_passed(name, program, tested)
    return (
        f"{program}, version {version or 'unknown'}: nothing of {tested.acts} forbidden acts "
        f"happened, in isolation {contained.runtime.name}"
    )
