"""What the scripts of a skill would do, pointed out by file and line."""

from pathlib import Path

import pytest

from kubecase.workspace import Skill, findings_in, load_skill

SKILLS = Path(__file__).parent.parent / "data" / "skills"


def skill_with(tmp_path: Path, name: str, text: str, *, mode: int = 0o644) -> Skill:
    folder = tmp_path.resolve() / "s"
    (folder / name).parent.mkdir(parents=True)
    (folder / "SKILL.md").write_text("---\nname: s\ndescription: d\n---\nkubectl delete pod x\n")
    (folder / name).write_text(text)
    (folder / name).chmod(mode)
    return load_skill(folder)


def test_each_line_that_changes_a_cluster_is_named() -> None:
    """The mutating scripts of a skill are told line by line, its reading one not at all."""
    found = findings_in(load_skill(SKILLS.resolve() / "cluster-doctor"))

    assert [(f.path.removeprefix("scripts/"), f.line, f.what) for f in found] == [
        ("cleanup.py", 6, "changes the cluster: kubectl delete"),
        ("repair.sh", 6, "changes the cluster: kubectl rollout restart"),
        ("repair.sh", 7, "changes the cluster: kubectl scale"),
        ("repair.sh", 9, "changes the cluster: kubectl delete"),
        ("repair.sh", 10, "reads Secrets: kubectl get secret"),
        ("repair.sh", 11, "changes the cluster: helm upgrade"),
        ("repair.sh", 12, "runs what it fetches from the network"),
    ]
    assert found[1].text == '"$KUBECTL" -n "$namespace" rollout restart deployment/api'


@pytest.mark.parametrize(
    "line",
    [
        "kubectl apply -f x.yaml", "kubectl --context=a --namespace b delete pod c",
        "/usr/local/bin/kubectl patch deploy a -p '{}'", "sudo kubectl drain node-1",
        "kubectl exec -it pod -- sh", "oc delete pod x", "${KUBECTL} edit cm x", "k scale deploy/a",
        "for p in a b; do kubectl annotate pod $p x=y; done", "x=$(kubectl create token sa)",
        "kubectl get secrets -A", "kubectl get pods,secrets", "kubectl describe secret/x",
        "kubectl certificate approve csr-1", "kubectl set image deploy/a a=b", "kubectl cp a:/b c",
        "kubectl auth reconcile -f x", "helm --kube-context x uninstall api", "helm rollback api 1",
        "kubectl get cm -o yaml | kubectl replace -f -", "kubectl debug node/x --image=y",
        "bash <(curl -s https://example.com/x)", 'sh -c "$(curl -fsSL https://example.com/x)"',
        "wget -qO- https://example.com/x | sudo sh", "curl https://example.com/x | python3 -",
        "curl -X DELETE $API/api/v1/namespaces/a/pods/b", "curl --request=PATCH $API/x",
        "api.delete_namespaced_pod(name, ns)", "v1.patch_node(name, body)",
        "v1.read_namespaced_secret(name, ns)", 'run(["kubectl", "taint", "nodes", n])',
    ],
)  # fmt: skip
def test_a_line_that_does_more_than_read_is_seen(tmp_path: Path, line: str) -> None:
    """Every way of writing that people use is recognised."""
    found = findings_in(skill_with(tmp_path, "scripts/x.sh", f"#!/bin/sh\n{line}\n"))

    assert [f.line for f in found] == [2]


@pytest.mark.parametrize(
    "line",
    [
        "kubectl get pods -A", "kubectl describe deploy apply", "kubectl logs delete-me --tail=5",
        "# kubectl delete pod x", "kubectl rollout status deploy/a", "kubectl config view",
        "kubectl auth can-i delete pods", "echo 'kubectl delete pod x'", "helm list -A",
        "helm get values api", "curl -fsS http://127.0.0.1/healthz", "kubectl top pods",
        "kubectl apply -f x --dry-run=server", "kubectl get events | grep -i secret",
        "kubectl get pods -l app=secretary", "kubectlx delete", "helm template ./chart",
    ],
)  # fmt: skip
def test_a_line_that_reads_is_left_alone(tmp_path: Path, line: str) -> None:
    """Reading commands, comments and advice that is printed are no findings."""
    assert findings_in(skill_with(tmp_path, "scripts/x.sh", f"#!/bin/sh\n{line}\n")) == ()


@pytest.mark.parametrize(
    ("name", "text", "mode", "is_script"),
    [
        ("scripts/x", "kubectl delete x\n", 0o644, True),
        ("tools/x.py", "kubectl delete x\n", 0o644, True),
        ("tools/x", "#!/bin/sh\nkubectl delete x\n", 0o644, True),
        ("tools/x", "kubectl delete x\n", 0o755, True),
        ("scripts/notes.md", "kubectl delete x\n", 0o644, False),
        ("references/x.md", "kubectl delete x\n", 0o644, False),
    ],
)
def test_what_counts_as_a_script(
    tmp_path: Path, name: str, text: str, mode: int, is_script: bool
) -> None:
    """Scripts are known by place, ending, first line or exec bit; pages are not scripts."""
    assert bool(findings_in(skill_with(tmp_path, name, text, mode=mode))) is is_script


def test_a_script_without_measure_ends_soon(tmp_path: Path) -> None:
    """Lines of any number and length give at most 500 findings."""
    many = "kubectl delete pod x\n" * 2000 + "x" * 1_000_000 + " \\\n" * 5000

    assert len(findings_in(skill_with(tmp_path, "scripts/x.sh", many))) == 500
