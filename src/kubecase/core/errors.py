"""The one tree of errors that an operator may read.

The agent's failure is a value (`core.model.Ended`); ours or the operator's is a
`KubecaseError` whose `hint` names the remedy; anything else is a bug and is caught only at the
boundaries that docs/design.md names.
"""


class KubecaseError(Exception):
    """Something a human can put right; `hint` is one sentence saying how."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class SettingsInvalid(KubecaseError):
    """The configuration cannot be used; the message holds every finding, one a line."""


class FaultRejected(KubecaseError):
    """What was handed in is not a fault in any form that kubecase takes."""


class InvalidIncidentId(KubecaseError):
    """An incident id is not a canonical UUID."""


class IncidentUnknown(KubecaseError):
    """No incident has this id, or a prefix of an id fits several."""


class IncidentExists(KubecaseError):
    """An incident with this id is on record already; the first one is left untouched."""


class IllegalTransition(KubecaseError):
    """A status was to change in a way that the table of transitions does not have."""


class OutsideWorkspace(KubecaseError):
    """A path leads out of the workspace, by its text or by a link."""


class WorkspaceError(KubecaseError):
    """A workspace could not be created, written, read or deleted."""


class SkillUnusable(KubecaseError):
    """A skill is absent, incomplete, too large, or leads out of its folder."""


class AgentUnavailable(KubecaseError):
    """The chosen agent cannot be used on this host: program, credential or setting is missing."""


class RuntimeUnavailable(KubecaseError):
    """No process could be supervised at all. Says nothing about the incident."""


class StoreUnavailable(KubecaseError):
    """The record cannot be opened, read or written."""


class ClusterUnavailable(KubecaseError):
    """A cluster or its credential cannot be used."""


class NotDelivered(KubecaseError):
    """A sink could not deliver a message.

    `lasting` says that trying again cannot help; `retry_after` is how many seconds the receiver
    asked to be left alone.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        lasting: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.lasting = lasting
        self.retry_after = retry_after
