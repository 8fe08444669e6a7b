"""The one directory that an investigation gets, and what may be done with it.

Here belong creating, writing, reading, measuring, packing and deleting a workspace, collecting what
an agent left there, copying skills into it, and deciding which workspaces have had their time.
Everything is reached by directory handle and no link is ever followed, for an agent may have put
anything anywhere. Never here: what an incident means, a process, a network, SQL, settings, or a
template.

    <root>/incident-<uuid>[-attempt-<n>]/     0700, files 0600
      PROMPT.md                               what the agent was asked
      .claude/skills/<name>/                  copies of skills
      .claude/skills.json                     their names, versions, tree hashes, commit, pins
      context/                                what the agent may know
      output/                                 agent.log, the agent's report, ours
      output/artifacts/                       whatever else the agent leaves
"""

from kubecase.workspace.archive import (
    Archive,
    ArchiveUnsound,
    NoSpace,
    pack,
    remove_unfinished,
)
from kubecase.workspace.artifacts import Collected, CollectionBudget, collect, digest_of
from kubecase.workspace.directory import Size, Workspace
from kubecase.workspace.kept import keep_files
from kubecase.workspace.names import shown
from kubecase.workspace.ownership import hand_over
from kubecase.workspace.packing import ArchiveLimits, Tick
from kubecase.workspace.removing import directory_in, free_bytes, held_alone
from kubecase.workspace.retention import (
    Candidate,
    CleanupPolicy,
    Decision,
    EntryKind,
    RootEntry,
    delete_at_once,
    early,
    expired,
    scan,
)
from kubecase.workspace.skill_findings import SkillFinding, findings_in
from kubecase.workspace.skill_folder import Skill, load_skill
from kubecase.workspace.skill_lock import Pin, SkillLock, Use
from kubecase.workspace.skill_text import acting_keys
from kubecase.workspace.skills import (
    Place,
    SkillChoice,
    SkillCopied,
    chosen,
    copy_skills,
    load_skills,
    places,
    shipped_skills_source,
)

__all__ = [
    "Archive",
    "ArchiveLimits",
    "ArchiveUnsound",
    "Candidate",
    "CleanupPolicy",
    "Collected",
    "CollectionBudget",
    "Decision",
    "EntryKind",
    "NoSpace",
    "Pin",
    "Place",
    "RootEntry",
    "Size",
    "Skill",
    "SkillChoice",
    "SkillCopied",
    "SkillFinding",
    "SkillLock",
    "Tick",
    "Use",
    "Workspace",
    "acting_keys",
    "chosen",
    "collect",
    "copy_skills",
    "delete_at_once",
    "digest_of",
    "directory_in",
    "early",
    "expired",
    "findings_in",
    "free_bytes",
    "hand_over",
    "held_alone",
    "keep_files",
    "load_skill",
    "load_skills",
    "pack",
    "places",
    "remove_unfinished",
    "scan",
    "shipped_skills_source",
    "shown",
]
