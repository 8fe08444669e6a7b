"""`kubecase rbac` and `kubecase kubeconfig`: a credential that only reads, made in two commands."""

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from kubecase.app.boundary import SUCCESS, printable
from kubecase.app.commands.options import DEFAULT, Json, Shared

NAME = "kubecase-reader"
NAMESPACE = "kubecase"


def rbac(
    *,
    namespace: Annotated[tuple[str, ...], Parameter(alias="-n", negative="")] = (),
    name: str = NAME,
    service_account_namespace: str = NAMESPACE,
    extra_resources: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    with_rbac: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Print the manifests of a ServiceAccount that can read what kubecase reads, and nothing else.

    Verbs are get, list and watch; there are no Secrets in it, no `*`, no exec, no proxy. Apply them
    with: kubecase rbac | kubectl apply -f -

    Parameters
    ----------
    namespace
        Grant what lies in namespaces in these only; may be given several times. All by default.
    name
        Name of the ServiceAccount, the roles and the bindings.
    service_account_namespace
        Namespace of the ServiceAccount.
    extra_resources
        More resources, as PLURAL.GROUP, for instance widgets.shop.io.
    with_rbac
        Let it read roles and bindings too.
    json
        Print one JSON document of kind List, which kubectl takes too, instead of YAML documents.
    """
    from kubecase.app.gateway import extended
    from kubecase.app.rbac import as_yaml, manifests
    from kubecase.clusters.kinds import is_name
    from kubecase.core.errors import KubecaseError

    for each in (name, service_account_namespace, *namespace):
        if not is_name(each):
            raise KubecaseError(
                f"{each[:80]!a} is no Kubernetes name",
                hint="Names are lower case letters, digits, - and . only.",
            )
    objects = manifests(
        extended(extra_resources, "--extra-resources"),
        name=name,
        account_namespace=service_account_namespace,
        namespaces=namespace,
        with_rbac=with_rbac,
    )
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    sys.stdout.write(jsonlib.dumps(listed, indent=2) + "\n" if json else as_yaml(objects))
    return SUCCESS


def kubeconfig(
    *,
    out: Path,
    kubeconfig: Path | None = None,
    context: str | None = None,
    namespace: Annotated[str, Parameter(alias="-n")] = NAMESPACE,
    service_account: str = NAME,
    duration: str = "24h",
    force: Annotated[bool, Parameter(negative="")] = False,
    shared: Shared = DEFAULT,
) -> int:
    """Make a read-only kubeconfig from the ServiceAccount of `kubecase rbac`.

    Asks the cluster for a token of that ServiceAccount with your own credential, of which nothing
    goes into the new file. This is the one request of kubecase that is not a reading one.

    Parameters
    ----------
    out
        Where to write the new kubeconfig; 0600.
    kubeconfig
        Kubeconfig that may create tokens for the ServiceAccount: an administrator's. Else
        agent_runtime.kubeconfig_path.
    context
        Context of it; the current one by default.
    namespace
        Namespace of the ServiceAccount.
    service_account
        Name of the ServiceAccount.
    duration
        How long the token is good for, such as 8h or 7d; the cluster may shorten it.
    force
        Replace an existing file at --out.
    """
    from kubecase.app.reader import reader_from

    settings = shared.settings(agent_runtime__kubeconfig_path=kubeconfig).settings
    says = reader_from(
        settings, out=out, context=context, namespace=namespace, account=service_account,
        duration=duration, force=force,
    )  # fmt: skip
    print(f"kubecase: {printable(says)}", file=sys.stderr)
    return SUCCESS
