"""More scenarios: other shapes of the same faults, and triggers that say little."""

from .clusters import Cluster, ago, container, looping, running, waiting
from .scenarios import scenario
from .scenarios_cluster import backend, caller, certificate, scaler
from .scenarios_pods import killed, probe

CONTROL = "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }"


@scenario("workload.scaled_to_zero", "Deployment/shop/web")
def an_ingress_before_a_workload_without_replicas(c: Cluster) -> None:
    c.deployment("web", pods=0, replicas=0)
    c.service("web")
    rule = {
        "host": "x",
        "http": {
            "paths": [
                {"path": "/", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
            ]
        },
    }
    c.add("Ingress", "web", spec={"rules": [rule]})
    c.alert("IngressHigh5xx", "Ingress shop/web answers 503 to all requests", ingress="web")


@scenario("network.service_port", "Service/shop/web")
def a_named_target_port_that_pods_do_not_have(c: Cluster) -> None:
    c.deployment("web", spec=[container(ports=[{"containerPort": 8080, "name": "http"}])])
    c.service("web", target="web")
    c.alert("ServiceErrors", "Requests to Service shop/web are refused", service="web")


@scenario("network.load_balancer", "Service/shop/edge")
def a_load_balancer_that_nobody_provisions(c: Cluster) -> None:
    c.deployment("edge")
    c.service("edge", type="LoadBalancer")
    c.alert(
        "LoadBalancerPending",
        "Service shop/edge has no external address for 60 minutes",
        service="edge",
    )


@scenario("storage.pvc_unbound", "PersistentVolumeClaim/shop/data")
def a_volume_that_is_kept_for_another_claim(c: Cluster) -> None:
    c.add(
        "PersistentVolume",
        "pv-1",
        "",
        spec={
            "storageClassName": "manual",
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "20Gi"},
            "claimRef": {"name": "older", "namespace": "shop"},
        },
        status={"phase": "Released"},
    )
    c.add("StorageClass", "standard", "", provisioner="x")
    made = c.add(
        "PersistentVolumeClaim",
        "data",
        spec={
            "storageClassName": "manual",
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "10Gi"}},
        },
        status={"phase": "Pending"},
    )
    c.unscheduled(
        "api",
        "pod has unbound immediate PersistentVolumeClaims",
        pod_spec={"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]},
    )
    assert made


@scenario("lifecycle.hook_failed")
def a_pre_stop_hook_that_fails(c: Cluster) -> None:
    c.deployment(
        "api", spec=[container(lifecycle={"preStop": {"exec": {"command": ["/bin/drain"]}}})]
    )
    c.event(
        c.pods_of("api")[0],
        "FailedPreStopHook",
        "PreStopHook failed",
        container="app",
        trigger=True,
    )


@scenario("config.invalid_value", "ConfigMap/shop/api-config")
def a_file_that_was_changed_a_moment_ago(c: Cluster) -> None:
    c.add(
        "ConfigMap",
        "api-config",
        data={"config.yaml": "a: b: c"},
        meta={"managedFields": [{"time": ago(12)}]},
    )
    c.crash(
        (
            "FATAL failed to load /etc/api/config.yaml: yaml: line 7: mapping values are "
            "not allowed in this context\n"
        ),
        spec=[container(volumeMounts=[{"name": "c", "mountPath": "/etc/api"}])],
        pod_spec={"volumes": [{"name": "c", "configMap": {"name": "api-config"}}]},
    )


@scenario("config.invalid_value")
def a_variable_with_a_wrong_value(c: Cluster) -> None:
    c.crash(
        'Error: invalid value "fast" for LOG_LEVEL: must be one of debug, info, warn\n',
        spec=[container(env=[{"name": "LOG_LEVEL", "value": "fast"}])],
    )


@scenario("config.missing_env")
def a_variable_from_an_optional_config_map(c: Cluster) -> None:
    c.crash(
        "ERROR required environment variable SMTP_HOST is empty\n",
        spec=[
            container(
                env=[
                    {
                        "name": "SMTP_HOST",
                        "valueFrom": {
                            "configMapKeyRef": {"name": "smtp", "key": "host", "optional": True}
                        },
                    }
                ]
            )
        ],
    )


@scenario("config.security_context")
def a_low_port_for_an_ordinary_user(c: Cluster) -> None:
    c.crash(
        "listen tcp :80: bind: permission denied\n",
        spec=[container(securityContext={"runAsUser": 1000})],
    )


@scenario("resources.process_limits")
def a_java_program_without_threads(c: Cluster) -> None:
    c.crash(
        "java.lang.OutOfMemoryError: unable to create native thread: possibly out of "
        "memory or process/resource limits reached\n"
    )


@scenario("probe.liveness_misconfigured")
def a_grpc_probe_on_another_port(c: Cluster) -> None:
    spec = container(
        livenessProbe={"grpc": {"port": 9091}, "periodSeconds": 10, "failureThreshold": 3}
    )
    killed(
        c,
        spec,
        'timeout: failed to connect service "10.2.3.4:9091" within 1s: connection refused',
        "INFO gRPC server listening on :9090\n",
    )


@scenario("scheduling.insufficient_resources")
def a_pod_whose_events_have_expired(c: Cluster) -> None:
    message = f"0/4 nodes are available: {CONTROL}, 3 Insufficient cpu."
    c.deployment(
        "api",
        node=None,
        pod_status=c.pending(message),
        spec=[container(resources={"requests": {"cpu": "8"}})],
    )
    c.alert(
        "KubePodNotReady",
        "Pod has been in a non-ready state for longer than 15 minutes.",
        pod=c.pods_of("api")[0]["metadata"]["name"],
    )


@scenario("quota.exceeded", "ResourceQuota/shop/pods")
def a_quota_that_only_a_condition_tells_of(c: Cluster) -> None:
    c.add("ResourceQuota", "pods", spec={"hard": {"pods": "3"}}, status={"used": {"pods": "3"}})
    said = (
        'pods "api-abc12de345-zzzzz" is forbidden: exceeded quota: pods, requested: '
        "pods=1, used: pods=3, limited: pods=3"
    )
    c.deployment(
        "api",
        pods=1,
        replicas=3,
        more_status={
            "conditions": [
                {
                    "type": "ReplicaFailure",
                    "status": "True",
                    "reason": "FailedCreate",
                    "message": said,
                }
            ]
        },
    )
    c.alert(
        "KubeDeploymentReplicasMismatch",
        "Deployment shop/api has not matched the expected number of replicas",
        deployment="api",
    )


@scenario("dependency.host_not_found")
def a_namespace_with_a_slip(c: Cluster) -> None:
    backend(c)
    caller(
        c,
        "getaddrinfo ENOTFOUND orders-db.shopp.svc.cluster.local",
        env={"DB_HOST": "orders-db.shopp.svc.cluster.local"},
    )


@scenario("tls.cert_expired", "Certificate/shop/api-cert")
def a_certificate_behind_an_ingress(c: Cluster) -> None:
    certificate(c, "Expired", "Certificate expired on 2026-05-01", notAfter=ago(5000))
    c.add("Secret", "api-tls", data={"tls.crt": "x"})
    c.deployment("api")
    c.service("api")
    rule = {
        "host": "api.example.com",
        "http": {"paths": [{"backend": {"service": {"name": "api", "port": {"number": 80}}}}]},
    }
    c.add("Ingress", "api", spec={"rules": [rule], "tls": [{"secretName": "api-tls"}]})
    c.alert("ProbeFailed", "https://api.example.com: certificate has expired", ingress="api")


@scenario("controlplane.api_unavailable", "Pod/kube-system/kube-apiserver-cp-1")
def an_api_server_that_refuses_work(c: Cluster) -> None:
    c.pod(
        "kube-apiserver-cp-1",
        "kube-system",
        labels={"component": "kube-apiserver"},
        node="cp-1",
        spec=[container("kube-apiserver")],
    )
    owner = c.deployment("api", pods=0, replicas=1)
    c.event(owner, "FailedCreate", "Error creating: etcdserver: request timed out", trigger=True)


@scenario("node.not_ready", "Node//worker-2")
def a_node_alert(c: Cluster) -> None:
    c.node("worker-2", ready="Unknown", message="Kubelet stopped posting node status.")
    c.deployment(
        "api", node="worker-2", pod_status={"conditions": [{"type": "Ready", "status": "False"}]}
    )
    c.alert(
        "KubeNodeNotReady", "worker-2 has been unready for more than 15 minutes.", node="worker-2"
    )


@scenario("node.disk_pressure", "Node//worker-1")
def an_eviction_whose_node_has_recovered(c: Cluster) -> None:
    said = (
        "The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, "
        "available: 2Gi. "
    )
    c.deployment(
        "api",
        pod_status={
            "phase": "Failed",
            "reason": "Evicted",
            "message": said,
            "containerStatuses": [],
            "conditions": [],
        },
    )
    c.event(c.pods_of("api")[0], "Evicted", said, trigger=True)


@scenario("app.crash")
def an_init_container_that_fails(c: Cluster) -> None:
    c.deployment(
        "api",
        pod_spec={"initContainers": [container("migrate")]},
        status=[looping(1), waiting("PodInitializing")],
        pod_status={"phase": "Pending"},
    )
    c.log(
        "api",
        'applying 0042\nERROR: relation "orders" already exists\n',
        container="migrate",
        previous=True,
    )
    c.back_off("api", "migrate")


@scenario("resources.oom_killed")
def a_crash_loop_fault_in_our_own_form(c: Cluster) -> None:
    c.deployment(
        "api",
        spec=[container(resources={"limits": {"memory": "64Mi"}})],
        status=looping(137, "OOMKilled"),
    )
    pod = c.pods_of("api")[0]["metadata"]
    c.trigger = {
        "namespace": "shop",
        "resource": f"Pod/{pod['name']}",
        "reason": "CrashLoop",
        "message": "container app exited 137",
    }


@scenario("app.crash")
def a_fault_of_a_server(c: Cluster) -> None:
    c.deployment("api", status=looping(2))
    c.log(
        "api",
        "panic: send on closed channel\n\ngoroutine 5 [running]:\nmain.work()\n\t/src/work.go:12\n",
        previous=True,
    )
    pod = c.pods_of("api")[0]["metadata"]
    c.trigger = {
        "faultType": "CrashLoop",
        "faultId": "9f3c0d1e2b4a5968",
        "severity": "critical",
        "resource": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": pod["name"],
            "namespace": "shop",
            "uid": pod["uid"],
        },
    }


@scenario("network.dns_failure", "Deployment/kube-system/coredns")
def a_cluster_dns_that_loops(c: Cluster) -> None:
    c.deployment(
        "coredns",
        "kube-system",
        labels={"k8s-app": "kube-dns"},
        status=looping(1),
        spec=[container("coredns")],
    )
    c.log(
        "coredns",
        (
            '[FATAL] plugin/loop: Loop (127.0.0.1:5000 -> :53) detected for zone ".", see '
            "https://coredns.io\n"
        ),
        container="coredns",
        namespace="kube-system",
        previous=True,
    )
    c.alert(
        "KubePodCrashLooping",
        "coredns is restarting",
        namespace="kube-system",
        pod=c.pods_of("coredns", "kube-system")[0]["metadata"]["name"],
    )


@scenario("network.mesh_policy", "PeerAuthentication/shop/strict")
def a_caller_without_a_sidecar(c: Cluster) -> None:
    c.deployment("orders")
    c.service("orders")
    c.add("PeerAuthentication", "strict", spec={"mtls": {"mode": "STRICT"}}, age=20)
    caller(
        c,
        (
            "GET http://orders/v1: read tcp 10.2.0.9:4711->10.96.1.7:80: read: connection "
            "reset by peer"
        ),
        env={"O": "http://orders"},
    )


@scenario("storage.attach_failed")
def more_volumes_than_a_node_takes(c: Cluster) -> None:
    c.unscheduled(
        "api",
        f"{CONTROL}, 3 node(s) exceed max volume count",
        pod_spec={"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]},
    )
    c.add("PersistentVolumeClaim", "data", spec={}, status={"phase": "Bound"})


@scenario("node.maintenance", "Node//worker-2")
def a_node_that_was_rebooted_for_an_upgrade(c: Cluster) -> None:
    node = c.node(
        "worker-2", cordoned=True, annotations={"upgrade.example.com/state": "in-progress"}
    )
    c.deployment("api", node="worker-1")
    c.event(
        node,
        "Rebooted",
        "Node worker-2 has been rebooted, boot id: 5f2a",
        warning=True,
        trigger=True,
    )


@scenario("probe.readiness_misconfigured")
def a_new_revision_with_a_wrong_readiness_path(c: Cluster) -> None:
    c.deployment(
        "api",
        spec=[probe("readiness", "/readyz")],
        status=running(20, ready=False),
        before=[probe("readiness", "/ready")],
    )
    c.log("api", "INFO listening on :8080\nGET /readyz 404\n")
    c.event(
        c.pods_of("api")[0],
        "Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 404",
        container="app",
        count=70,
    )
    c.alert(
        "KubeDeploymentRolloutStuck",
        "Rollout of deployment shop/api is not progressing",
        deployment="api",
    )


@scenario("hpa.metrics_unavailable", "APIService//v1beta1.metrics.k8s.io")
def an_alert_on_an_autoscaler_without_metrics(c: Cluster) -> None:
    c.deployment("api")
    scaler(
        c,
        [
            {
                "type": "ScalingActive",
                "status": "False",
                "reason": "FailedGetResourceMetric",
                "message": "the HPA was unable to compute the replica count: unable to get "
                "metrics for resource cpu: no metrics returned from resource "
                "metrics API",
            }
        ],
    )
    c.alert(
        "KubeHpaReplicasMismatch",
        "HPA shop/api-hpa has not matched the desired number of replicas",
        horizontalpodautoscaler="api-hpa",
    )


@scenario("none.no_fault", "")
def an_autoscaler_at_its_floor(c: Cluster) -> None:
    c.deployment("api", pods=2)
    made = scaler(
        c,
        [
            {"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale"},
            {
                "type": "ScalingLimited",
                "status": "True",
                "reason": "TooFewReplicas",
                "message": "the desired replica count is less than the minimum replica count",
            },
        ],
        currentReplicas=2,
    )
    c.event(
        made,
        "SuccessfulRescale",
        "New size: 2; reason: All metrics below target",
        warning=False,
        trigger=True,
    )


@scenario("none.no_fault", "")
def a_workload_scaled_to_zero_on_purpose(c: Cluster) -> None:
    c.deployment("batch", pods=0, replicas=0)
    deployment = next(
        o for o in c.objects if o["kind"] == "Deployment" and o["metadata"]["name"] == "batch"
    )
    c.event(
        deployment,
        "ScalingReplicaSet",
        "Scaled down replica set batch-abc12de345 to 0 from 1",
        warning=False,
        trigger=True,
    )


@scenario("none.no_fault", "")
def a_node_that_came_back(c: Cluster) -> None:
    c.deployment("api")
    node = next(o for o in c.objects if o["kind"] == "Node" and o["metadata"]["name"] == "worker-1")
    c.event(
        node,
        "NodeNotReady",
        "Node worker-1 status is now: NodeNotReady",
        warning=False,
        minutes=90,
        trigger=True,
    )
    c.event(node, "NodeReady", "Node worker-1 status is now: NodeReady", warning=False, minutes=88)


@scenario("unknown.insufficient_evidence", "")
def a_kill_that_nothing_explains(c: Cluster) -> None:
    c.deployment("api", status=looping(137))
    c.log("api", "INFO listening on :8080\nINFO GET / 200\n", previous=True)
    c.back_off()


@scenario("none.no_fault", "")
def a_calm_node_with_a_chronic_neighbour(c: Cluster) -> None:
    c.deployment("api", node="worker-3")
    node = next(o for o in c.objects if o["kind"] == "Node" and o["metadata"]["name"] == "worker-3")
    c.event(
        node,
        "NodeHasSufficientMemory",
        "Node worker-3 status is now: NodeHasSufficientMemory",
        warning=False,
        trigger=True,
    )


@scenario("app.crash")
def an_alert_that_also_names_the_node(c: Cluster) -> None:
    c.crash("panic: close of nil channel\n\ngoroutine 1 [running]:\n", code=2, node="worker-3")
    name = c.pods_of("api")[0]["metadata"]["name"]
    c.alert("KubePodCrashLooping", "Pod is restarting", pod=name, node="worker-3", job="ksm")
