"""Scenarios that look like others: what tells them apart is the only difference that counts."""

from .clusters import Cluster, ago, container, ended, looping, running, waiting
from .scenarios import scenario
from .scenarios_cluster import backend, caller, certificate, policy
from .scenarios_pods import IMAGE, probe, pull


@scenario("image.auth_failed", "Secret/shop/regcred")
def a_private_repository_with_a_pull_secret(c: Cluster) -> None:
    c.add("Secret", "regcred", data={".dockerconfigjson": "x"})
    pull(
        c,
        "pull access denied, repository does not exist or may require authorization: "
        "server message: insufficient_scope: "
        "authorization failed",
        image="acme/api:2",
        pod_spec={"imagePullSecrets": [{"name": "regcred"}]},
    )


@scenario("image.not_found")
def a_new_revision_beside_one_that_serves(c: Cluster) -> None:
    pull(c, f"rpc error: code = NotFound desc = {IMAGE}: not found")
    owner = next(o for o in c.objects if o["kind"] == "ReplicaSet")
    c.pod("api-older00000-qqqqq", owner=owner, labels={"app": "api"}, age=9000)


@scenario("tls.cert_not_issued", "Certificate/shop/api-cert")
def an_issuer_that_does_not_exist(c: Cluster) -> None:
    certificate(c, "DoesNotExist", "Issuing certificate as Secret does not exist")
    c.add(
        "CertificateRequest",
        "api-cert-1",
        annotations={"cert-manager.io/certificate-name": "api-cert"},
        spec={},
        status={
            "conditions": [
                {
                    "type": "Ready",
                    "status": "False",
                    "reason": "Pending",
                    "message": (
                        'Referenced "ClusterIssuer" not found: '
                        'clusterissuer.cert-manager.io "letsencrypt" not found'
                    ),
                }
            ]
        },
    )
    c.alert("CertificateNotReady", "Certificate shop/api-cert is not ready", name="api-cert")


@scenario("scheduling.taint")
def taints_that_the_message_does_not_name(c: Cluster) -> None:
    for n in (1, 2, 3):
        c.node(f"worker-{n}", taints=[{"key": "team", "value": "red", "effect": "NoSchedule"}])
    c.unscheduled("api", "4 node(s) had untolerated taint(s)")


@scenario("node.not_ready", "Node//worker-2")
def a_taint_that_means_a_dead_node(c: Cluster) -> None:
    c.node(
        "worker-2",
        ready="Unknown",
        message="Kubelet stopped posting node status.",
        taints=[{"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}],
        labels={"pool": "db"},
    )
    c.unscheduled(
        "api",
        "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 1 "
        "node(s) had untolerated taint "
        "{node.kubernetes.io/unreachable: }, 2 node(s) didn't match Pod's node affinity/selector",
        pod_spec={"nodeSelector": {"pool": "db"}},
    )


@scenario("node.not_ready", "Node//worker-1")
def a_pod_that_terminates_on_a_dead_node(c: Cluster) -> None:
    c.node("worker-1", ready="Unknown", message="Kubelet stopped posting node status.")
    c.pod(
        "store-0",
        labels={"app": "store"},
        meta={"deletionTimestamp": ago(40), "deletionGracePeriodSeconds": 30},
        pod_status={"conditions": [{"type": "Ready", "status": "False"}]},
    )
    c.alert("KubePodNotReady", "Pod shop/store-0 is not ready", pod="store-0")


@scenario("scheduling.insufficient_resources")
def a_full_cluster_with_one_small_cordoned_node(c: Cluster) -> None:
    c.node("worker-3", cordoned=True, cpu="1")
    c.unscheduled(
        "api",
        "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 1 "
        "node(s) were unschedulable, "
        "2 Insufficient cpu",
        spec=[container(resources={"requests": {"cpu": "6"}})],
    )


@scenario("scheduling.node_unschedulable", "Node//worker-3")
def a_cordoned_node_that_would_have_room(c: Cluster) -> None:
    c.node("worker-3", cordoned=True, cpu="16")
    c.unscheduled(
        "api",
        "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 1 "
        "node(s) were unschedulable, "
        "2 Insufficient cpu",
        spec=[container(resources={"requests": {"cpu": "6"}})],
    )


@scenario("resources.oom_killed")
def a_memory_kill_that_a_probe_also_complains_about(c: Cluster) -> None:
    c.deployment(
        "api",
        spec=[{**probe("liveness"), "resources": {"limits": {"memory": "64Mi"}}}],
        status=looping(137, "OOMKilled"),
    )
    pod = c.pods_of("api")[0]
    c.event(
        pod,
        "Unhealthy",
        'Liveness probe failed: Get "http://10.2.3.4:8080/healthz": connection refused',
        count=3,
        container="app",
    )
    c.back_off()


@scenario("app.crash")
def a_crash_after_which_the_probe_fails_too(c: Cluster) -> None:
    c.crash(
        "ERROR unexpected state\nTraceback (most recent call last):\n  File "
        "\"/app/m.py\", line 4, in run\nTypeError: 'NoneType' "
        "object is not subscriptable\n",
        spec=[probe("readiness")],
    )
    c.event(
        c.pods_of("api")[0],
        "Unhealthy",
        "Readiness probe failed: dial tcp 10.2.3.4:8080: connect: connection refused",
        count=9,
        container="app",
    )


@scenario("app.crash")
def a_crash_beside_an_exporter_that_complains(c: Cluster) -> None:
    c.crash(
        "WARN failed to export spans: connection refused (otel-collector:4317)\nINFO "
        "leader election won\n"
        "thread 'main' panicked at src/main.rs:9:5:\nindex out of bounds: the len is 3 "
        "but the index is 7\n",
        code=101,
    )


@scenario("app.crash")
def a_crash_beside_a_sick_service_that_nobody_complains_about(c: Cluster) -> None:
    backend(c, "stats", status=looping(137, "OOMKilled"))
    c.crash(
        (
            "panic: assignment to entry in nil map\n\ngoroutine 7 "
            "[running]:\nmain.add()\n\t/src/add.go:3\n"
        ),
        code=2,
        spec=[container(env=[{"name": "STATS", "value": "stats:5432"}])],
    )


@scenario("dependency.unavailable", "External//kafka.example.com")
def a_stack_trace_whose_cause_is_a_backend(c: Cluster) -> None:
    c.crash(
        'Traceback (most recent call last):\n  File "/app/m.py", line 4, in '
        "run\nkafka.errors.NoBrokersAvailable: "
        "NoBrokersAvailable: Unable to bootstrap from kafka.example.com:9092: Connection refused\n"
    )


@scenario("config.missing_env")
def a_crash_that_names_a_setting(c: Cluster) -> None:
    c.crash("Error: STRIPE_API_KEY is not set\n    at Object.<anonymous> (/app/config.js:4:9)\n")


@scenario("probe.liveness_misconfigured")
def a_probe_of_plain_http_on_a_tls_port(c: Cluster) -> None:
    c.deployment(
        "api",
        spec=[probe("liveness")],
        status=running(0.5, ready=False, restarts=8, last=ended(137, minutes=0.6, ran=0.6)),
        age=30,
    )
    pod = c.pods_of("api")[0]
    c.log("api", "INFO serving https on port 8080\n", previous=True)
    c.event(
        pod,
        "Unhealthy",
        "Liveness probe failed: HTTP probe failed with statuscode: 400",
        container="app",
        count=24,
        trigger=True,
    )
    c.event(
        pod,
        "Killing",
        "Container app failed liveness probe, will be restarted",
        warning=False,
        container="app",
    )


@scenario("scheduling.insufficient_resources", "StatefulSet/shop/orders-db")
def a_probe_that_fails_since_the_database_is_not_there(c: Cluster) -> None:
    message = (
        "0/4 nodes are available: 4 Insufficient memory. preemption: 0/4 nodes are "
        "available: 4 No preemption victims found."
    )
    backend(c, node=None, pod_status=c.pending(message))
    caller(
        c, "db: connect to orders-db:5432 failed: connection refused", env={"DB_HOST": "orders-db"}
    )


@scenario("config.missing_secret", "Secret/shop/db-auth")
def a_chain_of_three(c: Cluster) -> None:
    backend(c, status=waiting("CreateContainerConfigError", 'secret "db-auth" not found'))
    c.deployment(
        "orders",
        status=running(ready=False),
        spec=[container(env=[{"name": "DB", "value": "orders-db"}])],
    )
    c.log("orders", "ERROR dial tcp: orders-db:5432: connect: connection refused\n")
    c.service("orders")
    caller(c, "GET http://orders/v1: 503 Service Unavailable", env={"ORDERS": "http://orders"})


@scenario("network.policy_blocked", "NetworkPolicy/data/deny")
def a_policy_in_another_namespace(c: Cluster) -> None:
    c.add("Namespace", "shop", "", labels={"kubernetes.io/metadata.name": "shop"})
    c.deployment("store", "data")
    c.service("store", "data")
    c.add(
        "NetworkPolicy",
        "deny",
        "data",
        age=30,
        spec={
            "podSelector": {},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "from": [
                        {
                            "namespaceSelector": {
                                "matchLabels": {"kubernetes.io/metadata.name": "data"}
                            }
                        }
                    ]
                }
            ],
        },
    )
    caller(
        c,
        "Post http://store.data.svc.cluster.local/v1: dial tcp 10.96.1.7:80: i/o timeout",
        env={"S": "http://store.data"},
    )


@scenario("dependency.saturated", "External//db.example.com")
def a_pool_that_is_exhausted(c: Cluster) -> None:
    policy(c, "harmless", {"app": "other"}, policyTypes=["Ingress"])
    caller(
        c,
        (
            "HikariPool-1 - Connection is not available, request timed out after 30000ms "
            "(jdbc:postgresql://db.example.com:5432/x)"
        ),
    )


@scenario("network.dns_failure", "Deployment/kube-system/coredns")
def a_cluster_dns_whose_image_is_gone(c: Cluster) -> None:
    c.deployment(
        "coredns",
        "kube-system",
        labels={"k8s-app": "kube-dns"},
        spec=[container("coredns")],
        status=looping(137, "OOMKilled"),
    )
    caller(c, "lookup orders.shop.svc.cluster.local: Temporary failure in name resolution")


@scenario("network.dns_failure")
def a_pod_that_does_not_ask_the_cluster_dns(c: Cluster) -> None:
    backend(c)
    caller(
        c,
        "lookup orders-db on 10.0.0.2:53: server misbehaving",
        env={"DB_HOST": "orders-db"},
        pod_spec={"dnsPolicy": "Default"},
    )


@scenario("storage.mount_failed")
def a_driver_that_is_not_on_the_node(c: Cluster) -> None:
    c.add("PersistentVolumeClaim", "data", spec={"volumeName": "pv-1"}, status={"phase": "Bound"})
    c.deployment(
        "api",
        status=waiting("ContainerCreating"),
        pod_spec={"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]},
    )
    c.event(
        c.pods_of("api")[0],
        "FailedMount",
        'MountVolume.MountDevice failed for volume "pv-1" : kubernetes.io/csi: '
        "attacher.MountDevice "
        "failed to create newCsiDriverClient: driver name csi.example.com not found in "
        "the list of registered CSI drivers",
        trigger=True,
    )


@scenario("admission.webhook_failed", "ValidatingWebhookConfiguration//guard")
def a_webhook_whose_certificate_is_not_accepted(c: Cluster) -> None:
    c.deployment("guard", "guard")
    c.service("guard", "guard", port=443, target=8443)
    c.add(
        "ValidatingWebhookConfiguration",
        "guard",
        "",
        webhooks=[
            {
                "name": "pods.guard.example.com",
                "failurePolicy": "Fail",
                "clientConfig": {"service": {"name": "guard", "namespace": "guard"}},
            }
        ],
    )
    owner = c.deployment("api", pods=0, replicas=2)
    c.event(
        owner,
        "FailedCreate",
        "Error creating: Internal error occurred: failed calling webhook "
        '"pods.guard.example.com": failed to '
        'call webhook: Post "https://guard.guard.svc:443/v": tls: failed to verify '
        "certificate: x509: certificate signed by unknown "
        "authority",
        trigger=True,
    )


@scenario("resources.ephemeral_storage")
def a_container_over_its_own_limit_on_a_node_with_room(c: Cluster) -> None:
    said = 'Container app exceeded its local ephemeral storage limit "1Gi". '
    c.deployment(
        "api",
        pod_status={
            "phase": "Failed",
            "reason": "Evicted",
            "message": said,
            "containerStatuses": [],
        },
    )
    c.event(c.pods_of("api")[0], "Evicted", said, trigger=True)


@scenario("controlplane.component_down", "Pod/kube-system/kube-controller-manager-cp-1")
def a_deployment_that_nobody_acts_on(c: Cluster) -> None:
    c.pod(
        "kube-controller-manager-cp-1",
        "kube-system",
        labels={"component": "kube-controller-manager"},
        node="cp-1",
        status=looping(1),
        spec=[container("kube-controller-manager")],
    )
    c.logs["kube-system/kube-controller-manager-cp-1/kube-controller-manager/previous"] = (
        'E0505 11:58:00 run.go:74] "command failed" err="unknown flag: --pod-evict-timeout"\n'
    )
    c.add(
        "Deployment",
        "api",
        age=30,
        meta={"generation": 2},
        spec={"replicas": 2, "template": {}},
        status={},
    )
    c.alert(
        "KubeDeploymentReplicasMismatch",
        "Deployment shop/api has not matched the expected number of replicas",
        deployment="api",
    )


@scenario("none.no_fault", "")
def a_pod_that_a_scale_down_has_removed(c: Cluster) -> None:
    c.deployment("api", pods=1)
    gone = {
        "kind": "Pod",
        "metadata": {"name": "api-abc12de345-gone0", "namespace": "shop", "uid": "u"},
    }
    c.event(gone, "Killing", "Stopping container app", warning=False, container="app", trigger=True)


@scenario("none.no_fault", "")
def a_replica_that_stands_by(c: Cluster) -> None:
    owner = c.deployment("db", kind="StatefulSet")
    c.pod(
        "db-1",
        owner=owner,
        labels={"app": "db"},
        status=running(ready=False),
        spec=[probe("readiness")],
    )
    c.logs["shop/db-1/app"] = "INFO standby: not the leader, readiness is false by design\n"
    c.event(
        next(o for o in c.objects if o["metadata"]["name"] == "db-1"),
        "Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 503",
        container="app",
        count=900,
        trigger=True,
    )


@scenario("none.no_fault", "")
def a_readiness_failure_during_a_start_long_ago(c: Cluster) -> None:
    c.deployment("api", spec=[probe("readiness")])
    c.log(
        "api",
        (
            "INFO listening on :8080\nWARN retry 1: dial tcp orders:80: connection "
            "refused\nINFO connected to orders\nINFO errors=0\n"
        ),
    )
    c.service("orders")
    c.event(
        c.pods_of("api")[0],
        "Unhealthy",
        "Readiness probe failed: dial tcp 10.2.3.4:8080: connect: connection refused",
        count=2,
        minutes=118,
        first=119,
        container="app",
        trigger=True,
    )


@scenario("none.no_fault", "")
def a_mount_that_worked_at_the_second_try(c: Cluster) -> None:
    c.deployment("api")
    c.event(
        c.pods_of("api")[0],
        "FailedMount",
        'MountVolume.SetUp failed for volume "conf" : configmap "api-conf" not found',
        count=1,
        minutes=100,
        first=100,
        trigger=True,
    )


@scenario("none.no_fault", "")
def a_pull_secret_that_is_not_needed(c: Cluster) -> None:
    c.deployment("api", pod_spec={"imagePullSecrets": [{"name": "regcred"}]})
    c.event(
        c.pods_of("api")[0],
        "FailedToRetrieveImagePullSecret",
        "Unable to retrieve some image pull secrets (regcred); attempting to "
        "pull the image may not succeed.",
        trigger=True,
    )


@scenario("unknown.insufficient_evidence", "")
def a_pod_that_is_gone(c: Cluster) -> None:
    c.alert("KubePodCrashLooping", "Pod shop/ghost-1 is restarting", pod="ghost-1")
