"""What the adapters have in common that give their CLI no tool but those of kubecase."""

from kubecase.core.errors import AgentUnavailable
from kubecase.core.ports import ToolServer

TOOLS = ("kubectl_read", "read_context", "write_report")
"""The tools of kubecase's own server, by the names that it announces."""

SERVER = "k8s"
"""What that server is called in every CLI."""

TOKEN = "KUBECASE_TOOLS_TOKEN"  # noqa: S105 - the name of a variable
"""The variable in which a CLI finds its token for that server."""

SIGTERM = 15
"""These CLIs exit with 0 after SIGINT, or leave their tools behind."""

SYSTEM = (
    "You have no shell and no files of your own: read the cluster with kubectl_read, the case with "
    "read_context, and leave the report with write_report (markdown and report_json)."
)


def needed(name: str, server: ToolServer | None) -> ToolServer:
    """The tool server, without which this CLI could do nothing; raises AgentUnavailable."""
    if server is None:
        raise AgentUnavailable(
            f"cannot use the agent {name}: its only tools are those that kubecase serves, and "
            "none are served here",
            hint="Start it by `kubecase investigate`, which serves them in every isolation.",
        )
    return server
