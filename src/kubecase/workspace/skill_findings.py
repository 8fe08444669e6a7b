"""What the scripts of a skill would do to a cluster, line by line, for whoever decides about it.

No agent can run them: it has no shell. They are pointed out since a script is also advice, and
since people run what lies about. It is a search for known words, not a proof: a script can hide
what it does, so an empty answer says that nothing was seen.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from kubecase.workspace.skill_folder import Skill

MOST_FINDINGS = 500
LONGEST_LINE = 2000

_SUFFIXES = {".sh", ".bash", ".zsh", ".fish", ".py", ".rb", ".pl", ".js", ".ts", ".ps1"}
_CHANGING = frozenset(
    {
        "annotate", "apply", "attach", "autoscale", "cordon", "cp", "create", "debug", "delete",
        "drain", "edit", "evict", "exec", "expose", "label", "patch", "port-forward", "proxy",
        "replace", "run", "scale", "set", "taint", "uncordon",
    }
)  # fmt: skip
_READING = frozenset(
    {
        "api-resources", "api-versions", "auth", "certificate", "cluster-info", "config",
        "describe", "diff", "events", "explain", "get", "kustomize", "logs", "rollout", "top",
        "version", "wait",
    }
)  # fmt: skip
_SECOND = {
    "rollout": {"pause", "restart", "resume", "undo"},
    "certificate": {"approve", "deny"},
    "auth": {"reconcile"},
    "config": {"set", "set-cluster", "set-context", "set-credentials", "unset", "use-context"},
}
_HELM = frozenset({"delete", "install", "rollback", "test", "uninstall", "upgrade"})
_SECRETS = re.compile(r"(?:^|[\s,/])secrets?(?:$|[\s,/;|)])", re.IGNORECASE)

# A program, by its name, a path to it, or a variable that is called like it.
_KUBECTL = re.compile(r"(?:^|[\s;&|(`{/=])\$?\{?(kubectl|oc|KUBECTL|k)\}?(?=\s)")
_HELM_CALL = re.compile(r"(?:^|[\s;&|(`{/=])\$?\{?(?:helm|HELM)\}?(?=\s)")
_END = re.compile(r"[;|&)`]")
_WORD = re.compile(r"[A-Za-z][A-Za-z-]*")
_ONLY_SAYS = re.compile(r"^\s*(?:echo|printf|print|log|info|warn)\b(?!.*(?:\$\(|`|\|))")

_SHELLS = r"(?:sudo\s+)?(?:env\s+)?(?:/\S*/)?(?:ba|z|da|k)?sh\b|(?:/\S*/)?python[0-9.]*\b"
_FETCHED = re.compile(
    rf"\b(?:curl|wget)\b[^|]{{0,500}}\|\s*(?:{_SHELLS})|(?:{_SHELLS})\s+(?:-c\s*)?[\"']?(?:<\(|\$\()\s*"
    rf"(?:curl|wget)\b|\beval\b.{{0,500}}\b(?:curl|wget)\b"
)
_CLIENT = re.compile(r"\.(create|delete|patch|replace|connect)_(?:namespaced_|cluster_|node|pers)")
_CLIENT_SECRET = re.compile(r"\.(?:read|list)_(?:namespaced_)?secret")
_PLAIN_REQUEST = re.compile(
    r"\bcurl\b.{0,500}(?:-X|--request)[\s=]*[\"']?(POST|PUT|PATCH|DELETE)\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillFinding:
    """One line of a script: `path` relative to the skill's folder, `line` from 1, `what` in words
    of our own, and the beginning of the line itself, as it stands there.
    """

    path: str
    line: int
    what: str
    text: str


def findings_in(skill: Skill) -> tuple[SkillFinding, ...]:
    """Lines of its scripts that change a cluster, read Secrets, or run what they fetched.

    In the order of files and lines, at most 500. A script is what is executable, begins with `#!`,
    has the ending of a script, or lies in `scripts/` and is no page.
    """
    found: list[SkillFinding] = []
    for path, data in skill.files.items():
        if not _is_script(path, data, executable=path in skill.executable):
            continue
        for number, line in _lines(data.decode("utf-8", "replace")):
            for what in dict.fromkeys(_of_line(line)):
                text = line.strip()[:200]
                found.append(SkillFinding(path=path, line=number, what=what, text=text))
                if len(found) == MOST_FINDINGS:
                    return tuple(found)
    return tuple(found)


def _is_script(path: str, data: bytes, *, executable: bool) -> bool:
    suffix = PurePosixPath(path).suffix.lower()
    if executable or data.startswith(b"#!") or suffix in _SUFFIXES:
        return True
    return path.startswith("scripts/") and suffix not in {".md", ".txt", ".json", ".yaml", ".yml"}


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with the number of their first part; those that end with a backslash are joined."""
    begun, joined = 0, ""
    for number, line in enumerate(text.splitlines(), start=1):
        begun = begun or number
        joined += line[:LONGEST_LINE]
        if line.endswith("\\") and len(joined) < 4 * LONGEST_LINE:
            joined = joined[:-1] + " "
            continue
        yield begun, joined
        begun, joined = 0, ""
    if joined:
        yield begun, joined


def _of_line(line: str) -> Iterator[str]:
    if line.lstrip().startswith(("#", "//")) or _ONLY_SAYS.match(line):
        return
    # A list of arguments, as other languages write it, reads like a command line without these.
    words = re.sub(r"[\"',\[\]]+", " ", line)
    yield from _calls(words, _KUBECTL, _of_kubectl)
    yield from _calls(words, _HELM_CALL, _of_helm)
    if _FETCHED.search(line):
        yield "runs what it fetches from the network"
    if request := _PLAIN_REQUEST.search(line):
        yield f"sends a {request[1]} request"
    if call := _CLIENT.search(line):
        yield f"changes the cluster: {call[1]} by a client library"
    if _CLIENT_SECRET.search(line):
        yield "reads Secrets by a client library"


def _calls(
    words: str, program: re.Pattern[str], judge: Callable[[str], Iterator[str]]
) -> Iterator[str]:
    for match in program.finditer(words):
        yield from judge(_END.split(words[match.end() :], maxsplit=1)[0])


def _of_kubectl(arguments: str) -> Iterator[str]:
    words = [word for word in arguments.split() if _WORD.fullmatch(word)]
    verb = next((word for word in words if word in _CHANGING | _READING), None)
    if verb is None:
        return
    following = words[words.index(verb) + 1 :]
    second = next((w for w in following if w in _SECOND.get(verb, ())), None)
    dry = "--dry-run" in arguments and "--dry-run=none" not in arguments
    if (verb in _CHANGING or second) and not dry:
        yield f"changes the cluster: kubectl {verb}" + (f" {second}" if second else "")
    elif verb in {"get", "describe"} and _SECRETS.search(arguments):
        yield f"reads Secrets: kubectl {verb} secret"


def _of_helm(arguments: str) -> Iterator[str]:
    words = [word for word in arguments.split() if _WORD.fullmatch(word)]
    verb = next((word for word in words if word in _HELM), None)
    if verb is not None and "--dry-run" not in arguments:
        yield f"changes the cluster: helm {verb}"
