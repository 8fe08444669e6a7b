"""Settings: where they come from, which of them wins, and what is said when one is wrong."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubecase.app.settings import (
    Loaded,
    check_agent_command,
    check_workspace_root,
    current_environment,
    effective,
    load,
    require,
)
from kubecase.core.errors import SettingsInvalid

HOME = {"HOME": "/home/somebody"}


class Desk:
    """A working directory with a settings file, and settings loaded from there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "kubecase.yaml"

    def load(
        self, text: str | None = None, environ: Mapping[str, str] | None = None, **flags: object
    ) -> Loaded:
        if text is not None:
            self.file.write_text(text)
            self.file.chmod(0o600)
        dotted = {name.replace("__", "."): value for name, value in flags.items()}
        return load(dotted, {**HOME, **(environ or {})}, None, self.directory)

    def refusal(self, text: str | None = None, environ: Mapping[str, str] | None = None) -> str:
        with pytest.raises(SettingsInvalid) as refused:
            self.load(text, environ)
        assert refused.value.hint
        return str(refused.value)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def shown(loaded: Loaded, key: str) -> tuple[str, str]:
    """Value and origin of `key` as `kubecase config show` prints them."""
    return {row.key: (row.value, row.origin) for row in effective(loaded)}[key]


def test_without_any_settings_the_promised_defaults_hold(desk: Desk) -> None:
    """Ten minutes, 30 s of grace, 72 h of retention, any agent, read-only (req 2.5, 17.1)."""
    loaded = desk.load()

    assert {
        key: shown(loaded, f"agent_runtime.{key}")
        for key in (
            "agent", "max_duration_minutes", "graceful_shutdown_seconds",
            "workspace_retention_hours", "read_only_mode", "idle_timeout", "max_output", "max_disk",
            "isolation", "isolation_min", "require_report", "cleanup_policy", "min_free_space",
            "gc_interval", "retries", "fallback",
            "allow_write_capable_credential", "metrics_enabled", "structured_logging", "log_level",
        )
    } == {
        "agent": ("auto", "default"),
        "max_duration_minutes": ("10m", "default"),
        "graceful_shutdown_seconds": ("30s", "default"),
        "workspace_retention_hours": ("72h", "default"),
        "read_only_mode": ("true", "default"),
        "idle_timeout": ("5m", "default"),
        "max_output": ("64MiB", "default"),
        "max_disk": ("1GiB", "default"),
        "min_free_space": ("1GiB", "default"),
        "gc_interval": ("1h", "default"),
        "isolation": ("auto", "default"),
        "isolation_min": ("process", "default"),
        "require_report": ("true", "default"),
        "cleanup_policy": ("delete_after_retention", "default"),
        "retries": ("2", "default"),
        "fallback": ("[builtin]", "default"),
        "allow_write_capable_credential": ("false", "default"),
        "metrics_enabled": ("true", "default"),
        "structured_logging": ("true", "default"),
        "log_level": ("info", "default"),
    }  # fmt: skip
    limits = loaded.settings.agent_runtime.limits
    assert (limits.wall_clock, limits.grace, limits.idle) == (600.0, 30.0, 300.0)
    assert (limits.output_bytes, limits.disk_bytes) == (64 * 1024**2, 1024**3)


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "agent_runtime:\n", "{}", "---\n...\n"])
def test_an_empty_file_is_as_good_as_none(desk: Desk, text: str) -> None:
    """A file that sets nothing leaves every default."""
    assert desk.load(text).settings == desk.load().settings


@pytest.mark.parametrize(
    ("file", "environment", "flag", "won"),
    [
        (None, None, None, (600, "default")),
        ("7", None, None, (420, "{path}:2")),
        ("7", "8m", None, (480, "environment AGENT_RUNTIME_MAX_DURATION")),
        ("7", "8m", "9m", (540, "flag --timeout")),
        ("7", None, "9m", (540, "flag --timeout")),
        (None, "8m", None, (480, "environment AGENT_RUNTIME_MAX_DURATION")),
        (None, "8m", "9m", (540, "flag --timeout")),
        (None, None, "90", (90, "flag --timeout")),
    ],
)
def test_flag_beats_environment_beats_file_beats_default(
    desk: Desk,
    file: str | None,
    environment: str | None,
    flag: str | None,
    won: tuple[float, str],
) -> None:
    """Each layer overrides the ones below, and it is said which one won (req 2.3, 2.6)."""
    text = f"agent_runtime:\n  max_duration_minutes: {file}\n" if file else None
    environ = {"AGENT_RUNTIME_MAX_DURATION": environment} if environment else {}

    loaded = desk.load(text, environ, agent_runtime__max_duration_minutes=flag)

    _, origin = shown(loaded, "agent_runtime.max_duration_minutes")
    assert loaded.settings.agent_runtime.max_duration_seconds == won[0]
    assert origin == won[1].format(path=desk.file)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("90s", 90), ("90", 90), ("1h30m", 5400), ("1.5", 1.5)]
)
def test_a_time_limit_from_the_environment_may_be_plain_seconds(
    desk: Desk, text: str, seconds: float
) -> None:
    """AGENT_RUNTIME_MAX_DURATION takes 10m, 90s and plain seconds (req 2.3)."""
    loaded = desk.load(environ={"AGENT_RUNTIME_MAX_DURATION": text})

    assert loaded.settings.agent_runtime.max_duration_seconds == seconds


ENVIRONMENT = {
    "AGENT_RUNTIME_AGENT": ("claude", "agent", "claude"),
    "AGENT_RUNTIME_COMMAND": ("claude --x 'a b'", "agent_command", ("claude", "--x", "a b")),
    "AGENT_RUNTIME_WORKSPACE_ROOT": ("/w", "workspace_root", Path("/w")),
    "AGENT_RUNTIME_RETENTION_HOURS": ("2", "workspace_retention_seconds", 7200.0),
    "AGENT_RUNTIME_MAX_DURATION": ("2m", "max_duration_seconds", 120.0),
    "AGENT_RUNTIME_GRACE": ("5", "graceful_shutdown_seconds", 5.0),
    "AGENT_RUNTIME_IDLE_TIMEOUT": ("off", "idle_timeout_seconds", None),
    "AGENT_RUNTIME_MAX_OUTPUT": ("500MB", "max_output_bytes", 500_000_000),
    "AGENT_RUNTIME_MAX_DISK": ("1048576", "max_disk_bytes", 1048576),
    "AGENT_RUNTIME_MIN_FREE_SPACE": ("Off", "min_free_bytes", None),
    "AGENT_RUNTIME_GC_INTERVAL": ("90s", "gc_interval_seconds", 90.0),
    "AGENT_RUNTIME_ISOLATION": ("Process", "isolation", "process"),
    "AGENT_RUNTIME_ISOLATION_MIN": ("landlock", "isolation_min", "landlock"),
    "AGENT_RUNTIME_AGENT_USER": ("agent", "agent_user", "agent"),
    "AGENT_RUNTIME_REQUIRE_REPORT": ("false", "require_report", False),
    "AGENT_RUNTIME_CLEANUP_POLICY": ("archive", "cleanup_policy", "archive"),
    "AGENT_RUNTIME_RETRIES": ("0", "retries", 0),
    "AGENT_RUNTIME_ALLOW_WRITE_CAPABLE": ("TRUE", "allow_write_capable_credential", True),
    "AGENT_RUNTIME_SKILLS_SOURCE": ("/s", "skills_source", Path("/s")),
    "AGENT_RUNTIME_READ_ONLY": ("False", "read_only_mode", False),
    "AGENT_RUNTIME_ALLOWED_TOOLS": ("A(x, y:*), B", "allowed_tools", ("A(x, y:*)", "B")),
    "AGENT_RUNTIME_KUBECONFIG": ("~/k", "kubeconfig_path", Path("/home/somebody/k")),
    "AGENT_RUNTIME_METRICS": ("false", "metrics_enabled", False),
    "AGENT_RUNTIME_STRUCTURED_LOGGING": ("false", "structured_logging", False),
    "AGENT_RUNTIME_LOG_LEVEL": ("WARN", "log_level", "warn"),
}


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_every_name_of_the_requirements_sets_its_option(desk: Desk, name: str) -> None:
    """Each AGENT_RUNTIME_ name sets its key, and the origin says so (req 2.1, 2.3)."""
    text, attribute, value = ENVIRONMENT[name]

    loaded = desk.load(environ={name: text})

    assert getattr(loaded.settings.agent_runtime, attribute) == value
    assert [str(origin) for origin in loaded.origins.values()] == [f"environment {name}"]
    assert loaded.warnings == ()


def test_every_key_also_has_a_generic_name(desk: Desk) -> None:
    """KUBECASE_<SECTION>__<KEY> sets any key; the name of the requirements' table comes first."""
    loaded = desk.load(
        "agents:\n  My-Agent: {}\n".replace("My-Agent", "my-agent"),
        {
            "KUBECASE_AGENT_RUNTIME__FALLBACK": '["claude", "builtin"]',
            "KUBECASE_AGENT_RUNTIME__MAX_DURATION_MINUTES": "3",
            "KUBECASE_AGENT_RUNTIME__RETRIES": "4",
            "AGENT_RUNTIME_RETRIES": "5",
            "KUBECASE_AGENTS__MY_AGENT__MODEL": "large",
            "KUBECASE_CLUSTERS__PROD__CONTEXT": "prod-admin",
            "KUBECASE_STORE__DATA_DIR": "data",
        },
    )

    settings = loaded.settings
    assert settings.agent_runtime.fallback == ("claude", "builtin")
    assert settings.agent_runtime.max_duration_seconds == 180
    assert settings.agent_runtime.retries == 5
    assert settings.agent_options("my-agent").model == "large"
    assert settings.clusters["prod"].context == "prod-admin"
    assert settings.store.data_dir == desk.directory / "data"
    assert "AGENT_RUNTIME_RETRIES is used" in loaded.warnings[0]


def test_an_unknown_name_in_the_environment_is_a_warning(desk: Desk) -> None:
    """A misspelt variable is told with its nearest known name; what a cluster sets is not."""
    loaded = desk.load(
        environ={
            "AGENT_RUNTIME_GRASE": "sk-secret", "KUBECASE_STORE__URI": "x", "KUBECASE_OTHER": "y",
            "KUBECASE_PORT": "tcp://10.0.0.1:80", "KUBECASE_PORT_80_TCP_ADDR": "10.0.0.1",
            "KUBECASE_SERVICE_HOST": "10.0.0.1", "KUBECASE_CONFIG": "", "PATH": "/bin",
            "KUBECASE_AGENTS__CLAUDE__MODLE": "z", "AGENT_RUNTIME_AGENT": "",
        }
    )  # fmt: skip

    assert [warning.split(" ")[0] for warning in loaded.warnings] == [
        "AGENT_RUNTIME_GRASE", "KUBECASE_AGENTS__CLAUDE__MODLE", "KUBECASE_OTHER",
        "KUBECASE_STORE__URI",
    ]  # fmt: skip
    assert "did you mean AGENT_RUNTIME_GRACE?" in loaded.warnings[0]
    assert "did you mean KUBECASE_STORE__URL?" in loaded.warnings[3]
    assert "sk-secret" not in str(loaded.warnings)


def test_all_mistakes_are_told_at_once_with_their_places(desk: Desk) -> None:
    """Each mistake of each layer is told with its place and the nearest key (req 2.1, 2.4)."""
    text = """agent_runtime:
  agnt: claude
  max_duration_minutes: 0
  read_only_mode: yes
  skills: [{name: triage, enabeld: true}]
publish:
  to: somewhere
agents:
  claude: {modle: x, max_turns: 0}
clusters:
  "not a name!": {}
retries: 3
"""
    negative = "a duration cannot be negative"
    told = desk.refusal(text, {"AGENT_RUNTIME_GRACE": "-3", "AGENT_RUNTIME_METRICS": "1"})

    assert told.splitlines() == [
        "the settings have 11 mistakes",
        f"{desk.file}:2:3 agent_runtime.agnt - unknown key; did you mean agent?",
        f"{desk.file}:3:25 agent_runtime.max_duration_minutes - must be more than zero",
        f"{desk.file}:4:19 agent_runtime.read_only_mode - is neither true nor false",
        f"{desk.file}:5:27 agent_runtime.skills.0.enabeld - unknown key; did you mean enabled?",
        f"{desk.file}:6:1 publish - this section is not available in this version",
        f"{desk.file}:9:12 agents.claude.modle - unknown key; did you mean model?",
        f"{desk.file}:9:33 agents.claude.max_turns - must be from 1 to 1000",
        f"{desk.file}:11:3 clusters.not a name! - not a name! is not a name for this",
        f"{desk.file}:12:1 retries - unknown section; retries belongs under `agent_runtime`",
        f"AGENT_RUNTIME_GRACE agent_runtime.graceful_shutdown_seconds - {negative}",
        "AGENT_RUNTIME_METRICS agent_runtime.metrics_enabled - is neither true nor false",
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("max_duration_minutes: -1", "cannot be negative"),
        ("max_duration_minutes: 0s", "more than zero"),
        ("max_duration_minutes: ten", "is not a duration"),
        ("max_duration_minutes: true", "is not a duration"),
        ("max_duration_minutes: .inf", "is not a duration"),
        ("max_duration_minutes: 9999999999", "longer than 366 days"),
        ("max_duration_minutes:", "has no value"),
        ("max_duration_minutes: [1]", "is not a duration"),
        ("graceful_shutdown_seconds: -1s", "cannot be negative"),
        ("workspace_retention_hours: -1", "cannot be negative"),
        ("idle_timeout: 0", "or `off`"),
        ("max_output: 0", "more than zero"),
        ("min_free_space: 0", "or `off`"),
        ("min_free_space: lots", "is not a size"),
        ("gc_interval: 0s", "or `off`"),
        ("max_output: 5 parsecs", "is not a size"),
        ("max_disk: -1GiB", "cannot be negative"),
        ("retries: -1", "from 0 to 10"),
        ("retries: 1.5", "is not a whole number"),
        ("retries: true", "is not a whole number"),
        ('retries: "2"', "is not a whole number"),
        ("read_only_mode: 1", "neither true nor false"),
        ('read_only_mode: "true"', "neither true nor false"),
        ("log_level: loud", "is not one of debug, info, warn, error"),
        ("cleanup_policy: sometimes", "is not one of keep_always"),
        ("isolation: none", "is not one of auto, process"),
        ("isolation_min: auto", "is not one of process"),
        ("agent: Claude Code", "is not a name"),
        ("agent: 7", "is not a text"),
        ("agent_user: 'root; x'", "is not a user's name"),
        ("agent_command: []", "neither a program nor a list"),
        ("agent_command: [claude, 3]", "not a text"),
        ("fallback: builtin", "is not a list"),
        ("skills: [kubernetes-triage]", "must be a mapping"),
        ("skills: [{enabled: true}]", "is missing"),
        ("workspace_root: ~root/x", "another user's"),
        ("workspace_root: ''", "is empty"),
        ('workspace_root: "a\\0b"', "control characters"),
        ("anthropic_api_key: [x]", "is not a key"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_where_it_stands(
    desk: Desk, line: str, says: str
) -> None:
    """Bad types, zero, negatives and unknown words are refused with their place (req 2.6, 1.10)."""
    told = desk.refusal(f"agent_runtime:\n  {line}\n")

    assert told.startswith(f"{desk.file}:2:")
    assert f"agent_runtime.{line.partition(':')[0]}" in told
    assert says in told


def test_zero_is_taken_where_it_makes_sense(desk: Desk) -> None:
    """No grace, no retention and no retries are things one may want."""
    runtime = desk.load(
        "agent_runtime: {graceful_shutdown_seconds: 0, workspace_retention_hours: 0, retries: 0}"
    ).settings.agent_runtime

    assert runtime.graceful_shutdown_seconds == 0
    assert (runtime.workspace_retention_seconds, runtime.retries) == (0, 0)


@pytest.mark.parametrize(
    ("content", "place", "says"),
    [
        (b"agent_runtime:\n  agent: [claude\n", ":3:1", "not valid YAML"),
        (b"agent_runtime:\n\tagent: claude\n", ":2:1", "not with tabs"),
        (b"agent_runtime: {}\nagent_runtime: {}\n", ":2:1", "a second time (first: line 1)"),
        (b"agent_runtime:\n  agent: a\n  agent: b\n", ":3:3", "a second time (first: line 2)"),
        (b"- agent_runtime\n", ":1:1", "must be a mapping of sections"),
        (b"claude\n", ":1:1", "must be a mapping of sections"),
        (b"agent_runtime: 3\n", ":1:16", "must be a mapping of options"),
        (b"store: {}\n---\nstore: {}\n", ":2:1", "more than one YAML document"),
        (b"store: &s {}\nagents: *s\n", ":1:8", "alias"),
        (b"store: {url: !!python/name:os.system x}\n", ":1:14", "tag"),
        (b"agent_runtime:\n  agent: \xff\xfe\n", ":2", "not UTF-8"),
        (b"store: {url: " + b"[" * 5000, ":1:1", "not valid YAML"),
        (b"1: {}\n", ":1:1", "unknown section"),
        (b"[a]: {}\n", ":1:1", "not a plain key"),
    ],
)
def test_broken_yaml_names_file_and_line(desk: Desk, content: bytes, place: str, says: str) -> None:
    """Whatever is wrong with the file itself is told with its place (req 2.2)."""
    desk.file.write_bytes(content)

    told = desk.refusal()

    assert f"{desk.file}{place}" in told
    assert says in told


def test_several_duplicates_are_all_told(desk: Desk) -> None:
    """Finding one mistake in the YAML does not hide the next one, nor those of the values."""
    told = desk.refusal("agent_runtime: {agent: a, agent: b, retries: -1, retries: 2}\nstroe: {}\n")

    assert [line.split(" ")[1] for line in told.splitlines()[1:]] == [
        "agent_runtime.agent", "agent_runtime.retries", "agent_runtime.retries", "stroe",
    ]  # fmt: skip


def test_a_file_that_was_named_must_be_there(desk: Desk) -> None:
    """What --config or KUBECASE_CONFIG names must exist, or it is said what does not (req 2.6)."""
    told = desk.refusal(environ={"KUBECASE_CONFIG": "absent.yaml"})
    with pytest.raises(SettingsInvalid) as refused:
        load({}, HOME, Path("elsewhere.yaml"), desk.directory)

    assert told == f"cannot read {desk.directory}/absent.yaml: No such file or directory"
    assert "elsewhere.yaml" in str(refused.value)
    assert "--config" in str(refused.value.hint)


def test_the_first_place_that_has_a_file_is_used(desk: Desk) -> None:
    """--config comes before KUBECASE_CONFIG, which comes before the working directory."""
    for name in ("flag", "env", "kubecase"):
        path = desk.directory / f"{name}.yaml"
        path.write_text(f"agent_runtime: {{agent: {name}}}")
    environ = {**HOME, "KUBECASE_CONFIG": "env.yaml"}

    found = [
        load({}, environ, Path("flag.yaml"), desk.directory),
        load({}, environ, None, desk.directory),
        load({}, HOME, None, desk.directory),
    ]

    assert [each.settings.agent_runtime.agent for each in found] == ["flag", "env", "kubecase"]
    assert found[2].config_path == desk.file


def test_what_is_no_readable_file_is_refused(desk: Desk) -> None:
    """A directory, a pipe, a dangling link and an oversized file are refused at once (req 2.6)."""
    told = []
    desk.file.mkdir()
    told.append(desk.refusal())
    desk.file.rmdir()
    os.mkfifo(desk.file)
    told.append(desk.refusal())
    desk.file.unlink()
    desk.file.symlink_to(desk.directory / "gone")
    told.append(desk.refusal())
    desk.file.unlink()
    desk.file.write_bytes(b"# " + b"x" * 1024 * 1024)
    told.append(desk.refusal())

    ends = ["it is a directory", "it is not a regular file", "No such file or directory",
            "it is larger than 1 MiB"]  # fmt: skip
    assert told == [f"cannot read {desk.file}: {end}" for end in ends]


def test_a_file_that_may_not_be_read_is_refused() -> None:
    """The file is named, and mistakes of the environment are told all the same (req 2.6)."""
    with tempfile.TemporaryDirectory() as name:
        # Not below pytest's own directory, which nobody but its owner may enter.
        _refuses_unreadable(Path(name))


def _refuses_unreadable(directory: Path) -> None:
    directory.chmod(0o755)
    file = directory / "kubecase.yaml"
    file.write_text("")
    file.chmod(0)
    # Root may read everything, so that the check is made by a process that is not root.
    program = f"""
import os, sys
from pathlib import Path
from kubecase.app.settings import load
from kubecase.app.settings import checked, upstream_keys
from kubecase.core.errors import SettingsInvalid
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    load({{}}, {{"HOME": "/h", "AGENT_RUNTIME_RETRIES": "x"}}, None, Path({str(directory)!r}))
except SettingsInvalid as error:
    print(error)
"""

    # Without what would have coverage write its data as nobody.
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip

    assert run.stdout.splitlines() == [
        "the settings have 2 mistakes",
        f"cannot read {file}: Permission denied",
        "AGENT_RUNTIME_RETRIES agent_runtime.retries - is not a whole number",
    ], run.stderr


def test_a_file_that_everyone_may_change_is_warned_of(desk: Desk) -> None:
    """Who can change the settings can run programs; a world-writable file is told of."""
    desk.file.write_text("agent_runtime: {}")
    desk.file.chmod(0o666)

    assert desk.load().warnings == (f"{desk.file} can be changed by every user of this host",)


def test_directories_follow_the_kind_of_process(desk: Desk) -> None:
    """A service keeps to /var/lib/kubecase, a person to their own data directory."""
    person = desk.load().settings
    elsewhere = desk.load(environ={"XDG_DATA_HOME": "/data"}).settings
    relative = desk.load(environ={"XDG_DATA_HOME": "data"}).settings
    service = load({}, {}, None, desk.directory, service=True).settings

    assert person.store.data_dir == Path("/home/somebody/.local/share/kubecase")
    assert person.agent_runtime.workspace_root == person.store.data_dir / "workspaces"
    assert elsewhere.store.data_dir == Path("/data/kubecase")
    assert relative == person
    assert service.store.data_dir == Path("/var/lib/kubecase")
    assert service.agent_runtime.workspace_root == Path("/var/lib/kubecase/workspaces")


def test_without_a_home_the_directories_must_be_named(desk: Desk) -> None:
    """Where no default can be made up, it is said which options are needed."""
    with pytest.raises(SettingsInvalid) as refused:
        load({}, {}, None, desk.directory)
    named = load(
        {"store.data_dir": "d", "agent_runtime.workspace_root": "w"}, {}, None, desk.directory
    )

    assert "agent_runtime.workspace_root - has no default here" in str(refused.value)
    assert named.settings.store.data_dir == desk.directory / "d"


def test_paths_are_relative_to_where_they_are_written(desk: Desk) -> None:
    """A path in the file starts at the file, a path in a flag or variable where one stands."""
    (desk.directory / "etc").mkdir()
    (desk.directory / "etc" / "k.yaml").write_text(
        "agent_runtime: {skills_source: skills, agent_command: [./bin/agent, ./x]}\n"
        "clusters: {prod: {kubeconfig: ~/prod.yaml, context: c}}\n"
    )

    loaded = load(
        {"agent_runtime.workspace_root": Path("w")},
        {**HOME, "AGENT_RUNTIME_KUBECONFIG": "k"}, Path("etc/k.yaml"), desk.directory,
    )  # fmt: skip

    runtime = loaded.settings.agent_runtime
    assert runtime.skills_source == desk.directory / "etc" / "skills"
    assert runtime.agent_command == (str(desk.directory / "etc" / "bin" / "agent"), "./x")
    assert runtime.workspace_root == desk.directory / "w"
    assert runtime.kubeconfig_path == desk.directory / "k"
    assert loaded.settings.clusters["prod"].kubeconfig == Path("/home/somebody/prod.yaml")


def test_a_command_is_never_given_to_a_shell(desk: Desk) -> None:
    """A text in the file is one program; a variable is split, and nothing expanded (req 7.6)."""
    in_file = desk.load("agent_runtime: {agent_command: 'my agent; x'}").settings
    from_outside = desk.load(
        environ={"AGENT_RUNTIME_COMMAND": "agent '$HOME `id`' \"(a)\" ; *"}
    ).settings

    assert in_file.agent_runtime.agent_command == ("my agent; x",)
    assert from_outside.agent_runtime.agent_command == (
        "agent", "$HOME `id`", "(a)", ";", "*",
    )  # fmt: skip
    assert "not closed" in desk.refusal(environ={"AGENT_RUNTIME_COMMAND": "agent 'x"})


def program(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_a_command_that_is_not_there_is_told_with_its_remedy(desk: Desk) -> None:
    """Key, variable and remedy are named for an absent or unusable program (req 2.4)."""
    present = program(desk.directory / "bin" / "claude")
    plain = desk.directory / "plain"
    plain.write_text("")
    search = str(present.parent)

    def findings(**runtime: object) -> list[str]:
        text = json.dumps({"agent_runtime": runtime})
        return [str(each) for each in check_agent_command(desk.load(text).settings, search)]

    start = "agent_runtime.agent_command (AGENT_RUNTIME_COMMAND) - "
    assert findings(agent="claude") == []
    assert findings(agent="auto") == findings(agent="builtin") == findings(agent="scripted") == []
    assert findings(agent="command", agent_command=str(present)) == []
    assert findings(agent="codex") == [f"{start}'codex' is not on PATH"]
    assert findings(agent="command") == [f"{start}must be set for the agent `command`"]
    assert findings(agent="claude", agent_command="nope") == [f"{start}'nope' is not on PATH"]
    assert findings(agent="command", agent_command="/no/pe") == [
        f"{start}there is no file '/no/pe'"
    ]
    assert findings(agent="command", agent_command=str(plain)) == [
        f"{start}'{plain}' is not an executable file"
    ]


def test_command_and_workspace_root_are_reported_together(desk: Desk) -> None:
    """One report names every option that cannot work, each with its variable (req 2.4)."""
    blocked = desk.directory / "file"
    blocked.write_text("")
    not_a_directory = f"{blocked} is not a directory"
    settings = desk.load(
        json.dumps({"agent_runtime": {"agent": "codex", "workspace_root": str(blocked / "w")}})
    ).settings

    with pytest.raises(SettingsInvalid) as refused:
        require([*check_agent_command(settings, "/nowhere"), *check_workspace_root(settings)])

    assert str(refused.value).splitlines() == [
        "agent_runtime.agent_command (AGENT_RUNTIME_COMMAND) - 'codex' is not on PATH",
        f"agent_runtime.workspace_root (AGENT_RUNTIME_WORKSPACE_ROOT) - {not_a_directory}",
    ]
    assert "AGENT_RUNTIME_COMMAND" in str(refused.value.hint)
    assert not (blocked / "w").exists()


def test_a_workspace_root_that_can_be_created_is_fine(desk: Desk) -> None:
    """It need not exist yet, and looking creates nothing."""
    settings = desk.load("agent_runtime: {workspace_root: a/b/c}").settings

    require(check_workspace_root(settings))

    assert os.listdir(desk.directory) == ["kubecase.yaml"]


def test_nothing_but_the_given_environment_is_looked_at(desk: Desk) -> None:
    """What the process's own environment says changes nothing unless it is handed in."""
    program = (
        "import sys; from pathlib import Path; from kubecase.app.settings import load;"
        "print(load({}, {'HOME': '/h'}, None, Path(sys.argv[1])).settings.agent_runtime.agent)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, desk.directory],
        env={**current_environment(), "AGENT_RUNTIME_AGENT": "claude", "AGENT": "x"},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert run.stdout.strip() == "auto"


def test_importing_the_settings_imports_no_heavy_library() -> None:
    """`kubecase --help` may import the settings without paying for pydantic or YAML."""
    program = (
        "import sys, kubecase.app.settings, kubecase.app.logs, kubecase.app.metrics;"
        "print(sorted({m.partition('.')[0] for m in sys.modules}"
        " & {'pydantic', 'ruamel', 'structlog', 'prometheus_client', 'asyncio', 'http'}))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    assert run.stdout.strip() == "[]"


@given(st.text(max_size=80))
def test_no_text_at_all_breaks_the_reader(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """Any file is either taken or refused with a place in it."""
    directory = tmp_path_factory.mktemp("any")
    (directory / "kubecase.yaml").write_text(text, newline="", errors="ignore")

    try:
        told = str(load({}, HOME, None, directory).config_path)
    except SettingsInvalid as error:
        told = str(error)

    assert "kubecase.yaml" in told
