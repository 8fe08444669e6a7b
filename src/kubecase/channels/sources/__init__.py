"""Where faults come from; each module maps one outside format to `core.model.Fault`.

Here belong the forms that faults arrive in: recognising them, mapping them, and reading them from
where they lie. The mappers are pure; only `folder` and `file` touch the disk. Never here: deciding
whether a fault deserves an investigation, asking a cluster, or trusting a size, a name or a number
that a payload states.
"""

from kubecase.channels.sources.file import FileSource, load_intake
from kubecase.channels.sources.intake import UNDERSTOOD, Arrival, FaultInput, Form, Intake
from kubecase.channels.sources.mapping import MAX_PAYLOAD, faults_in
from kubecase.channels.sources.recognise import recognise

__all__ = [
    "MAX_PAYLOAD",
    "UNDERSTOOD",
    "Arrival",
    "FaultInput",
    "FileSource",
    "Form",
    "Intake",
    "faults_in",
    "load_intake",
    "recognise",
]
