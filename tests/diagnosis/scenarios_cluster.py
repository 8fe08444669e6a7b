"""Scenarios of what lies between and below pods: backends, network, storage, admission, nodes."""

from .clusters import Cluster, Json, ago, container, ended, looping, running, waiting
from .scenarios import scenario


def caller(
    c: Cluster, line: str, *, env: Json | None = None, name: str = "api", **more: object
) -> None:
    """A program that is not ready because of what its log says."""
    variables = [{"name": k, "value": v} for k, v in (env or {}).items()]
    c.deployment(name, spec=[container(env=variables)], status=running(ready=False), **more)
    c.log(name, "INFO listening on :8080\n" + f"2026-05-05 11:59:00 ERROR {line}\n" * 4)
    c.event(
        c.pods_of(name)[0],
        "Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 503",
        container="app",
        count=60,
        trigger=True,
    )


def backend(c: Cluster, name: str = "orders-db", **more: object) -> None:
    """A backend with its Service."""
    c.deployment(
        name, kind="StatefulSet", spec=[container("db", ports=[{"containerPort": 5432}])], **more
    )
    c.service(name, port=5432, target=5432)


@scenario("dependency.unavailable", "External//db.example.com")
def a_backend_outside_that_refuses(c: Cluster) -> None:
    caller(
        c,
        "cannot connect: dial tcp db.example.com:5432: connect: connection refused",
        env={"DB": "db.example.com"},
    )


@scenario("dependency.timeout", "External//pay.example.com")
def a_backend_outside_that_is_slow(c: Cluster) -> None:
    caller(
        c,
        (
            "POST https://pay.example.com/v1: context deadline exceeded (Client.Timeout "
            "exceeded while awaiting headers)"
        ),
    )


@scenario("dependency.host_not_found")
def a_host_with_a_slip(c: Cluster) -> None:
    backend(c)
    caller(
        c, "dial tcp: lookup order-db on 10.96.0.10:53: no such host", env={"DB_HOST": "order-db"}
    )


@scenario("dependency.auth_failed", "Secret/shop/api-db")
def a_password_that_is_refused(c: Cluster) -> None:
    backend(c)
    c.add("Secret", "api-db", data={"password": "x"})
    spec = container(
        env=[
            {
                "name": "DB_PASSWORD",
                "valueFrom": {"secretKeyRef": {"name": "api-db", "key": "password"}},
            }
        ]
    )
    c.crash('FATAL: password authentication failed for user "api" (host orders-db)\n', spec=[spec])


@scenario("dependency.saturated", "StatefulSet/shop/orders-db")
def a_database_without_a_free_connection(c: Cluster) -> None:
    backend(c)
    caller(c, "pq: sorry, too many clients already (orders-db:5432)", env={"DB_HOST": "orders-db"})


@scenario("resources.oom_killed", "StatefulSet/shop/orders-db")
def a_caller_whose_backend_runs_out_of_memory(c: Cluster) -> None:
    backend(c, status=looping(137, "OOMKilled"))
    caller(c, "dial tcp 10.96.1.7:5432: connect: connection refused", env={"DB_HOST": "orders-db"})


@scenario("storage.volume_full", "PersistentVolumeClaim/shop/data-orders-db-0")
def a_caller_whose_database_has_a_full_disk(c: Cluster) -> None:
    c.add(
        "PersistentVolumeClaim",
        "data-orders-db-0",
        spec={},
        status={"phase": "Bound", "capacity": {"storage": "10Gi"}},
    )
    c.deployment(
        "orders-db",
        kind="StatefulSet",
        status=looping(1),
        spec=[
            container(
                "db", volumeMounts=[{"name": "data", "mountPath": "/var/lib/postgresql/data"}]
            )
        ],
        pod_spec={
            "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": "data-orders-db-0"}}
            ]
        },
    )
    c.log(
        "orders-db",
        'FATAL:  could not write to file "pg_wal/xlogtemp.29": No space left on device\n',
        container="db",
        previous=True,
    )
    c.service("orders-db", port=5432, target=5432)
    caller(
        c,
        "connection to server at orders-db, port 5432 failed: Connection refused",
        env={"DB_HOST": "orders-db"},
    )


@scenario("network.service_selector", "Service/shop/api")
def a_selector_with_another_value(c: Cluster) -> None:
    c.deployment("api", labels={"app": "api", "tier": "backend"})
    c.service("api", selector={"app": "api", "tier": "back-end"})
    c.add("EndpointSlice", "api-x", labels={"kubernetes.io/service-name": "api"}, endpoints=None)
    c.alert("ServiceNoEndpoints", "Service shop/api has no ready endpoint.", service="api")


@scenario("network.service_port", "Service/shop/orders")
def a_target_port_that_nobody_listens_on(c: Cluster) -> None:
    c.deployment("orders", spec=[container(ports=[{"containerPort": 9000}])])
    c.log("orders", "INFO listening on :9000\n")
    c.service("orders", target=8080)
    caller(
        c,
        "GET http://orders/v1: dial tcp 10.96.1.7:80: connect: connection refused",
        env={"ORDERS": "http://orders"},
    )


@scenario("network.service_missing", "Service/shop/orders")
def a_service_that_is_gone(c: Cluster) -> None:
    c.deployment("orders")
    c.service("payments")
    caller(
        c,
        "dial tcp: lookup orders on 10.96.0.10:53: no such host",
        env={"ORDERS": "http://orders:80"},
    )


def policy(c: Cluster, name: str, labels: Json, **spec: object) -> None:
    """A NetworkPolicy on the pods with these labels."""
    c.add("NetworkPolicy", name, age=40, spec={"podSelector": {"matchLabels": labels}, **spec})


@scenario("network.policy_blocked", "NetworkPolicy/shop/db-only-batch")
def a_policy_that_admits_only_others(c: Cluster) -> None:
    backend(c)
    policy(
        c,
        "db-only-batch",
        {"app": "orders-db"},
        policyTypes=["Ingress"],
        ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "batch"}}}]}],
    )
    caller(c, "dial tcp 10.96.1.7:5432: i/o timeout", env={"DB_HOST": "orders-db"})


@scenario("dependency.timeout", "StatefulSet/shop/orders-db")
def a_policy_that_admits_the_caller(c: Cluster) -> None:
    backend(c)
    policy(
        c,
        "db",
        {"app": "orders-db"},
        policyTypes=["Ingress"],
        ingress=[
            {"from": [{"podSelector": {"matchLabels": {"app": "api"}}}], "ports": [{"port": 5432}]}
        ],
    )
    caller(
        c, "query to orders-db:5432 failed: context deadline exceeded", env={"DB_HOST": "orders-db"}
    )


@scenario("network.policy_blocked", "NetworkPolicy/shop/egress")
def a_policy_without_name_resolution(c: Cluster) -> None:
    backend(c)
    policy(
        c,
        "egress",
        {},
        policyTypes=["Egress"],
        egress=[{"to": [{"podSelector": {}}], "ports": [{"port": 5432}]}],
    )
    caller(
        c,
        "lookup orders-db on 10.96.0.10:53: read udp 10.2.0.4:4711->10.96.0.10:53: i/o timeout",
        env={"DB_HOST": "orders-db"},
    )


@scenario("network.mesh_policy", "AuthorizationPolicy/shop/orders-callers")
def a_mesh_policy_that_refuses_the_caller(c: Cluster) -> None:
    c.deployment("orders")
    c.service("orders")
    c.add(
        "AuthorizationPolicy",
        "orders-callers",
        age=30,
        spec={
            "action": "ALLOW",
            "selector": {"matchLabels": {"app": "orders"}},
            "rules": [{"from": [{"source": {"principals": ["x"]}}]}],
        },
    )
    caller(c, "GET http://orders/v1 403: RBAC: access denied", env={"ORDERS": "http://orders"})


@scenario("network.dns_failure", "ConfigMap/kube-system/coredns")
def a_cluster_dns_that_cannot_read_its_file(c: Cluster) -> None:
    c.add("ConfigMap", "coredns", "kube-system", data={"Corefile": ".:53 { forwardd . }"})
    c.deployment(
        "coredns",
        "kube-system",
        labels={"k8s-app": "kube-dns"},
        status=looping(1),
        spec=[container("coredns")],
    )
    c.log(
        "coredns",
        "/etc/coredns/Corefile:4 - Error during parsing: Unknown directive 'forwardd'\n",
        container="coredns",
        namespace="kube-system",
        previous=True,
    )
    caller(c, "getaddrinfo EAI_AGAIN orders.shop.svc.cluster.local")


@scenario("network.ingress_misconfigured", "Ingress/shop/api")
def an_ingress_to_a_service_that_is_not_there(c: Cluster) -> None:
    c.deployment("api")
    c.service("api")
    c.add("IngressClass", "nginx", "")
    rule = {
        "host": "x",
        "http": {
            "paths": [
                {"path": "/", "backend": {"service": {"name": "api-svc", "port": {"number": 80}}}}
            ]
        },
    }
    c.add("Ingress", "api", spec={"ingressClassName": "nginx", "rules": [rule]})
    c.alert("IngressErrors", "Ingress shop/api answers 503", ingress="api")


@scenario("network.ingress_misconfigured", "Ingress/shop/api")
def an_ingress_of_an_unknown_class(c: Cluster) -> None:
    c.deployment("api")
    c.service("api")
    c.add("IngressClass", "nginx", "")
    rule = {
        "host": "x",
        "http": {
            "paths": [
                {"path": "/", "backend": {"service": {"name": "api", "port": {"number": 80}}}}
            ]
        },
    }
    c.add("Ingress", "api", spec={"ingressClassName": "ngnix-internal", "rules": [rule]})
    c.alert("IngressNoAddress", "Ingress shop/api has no address", ingress="api")


@scenario("network.cni_failure", "Node//worker-1")
def a_node_without_free_addresses(c: Cluster) -> None:
    c.deployment("api", status=waiting("ContainerCreating"))
    c.event(
        c.pods_of("api")[0],
        "FailedCreatePodSandBox",
        "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to "
        'setup network for sandbox "ab12": plugin type="aws-cni" failed (add): add '
        "cmd: failed to assign an IP address to container",
        trigger=True,
    )


@scenario("network.load_balancer", "Service/shop/edge")
def a_load_balancer_that_the_provider_refuses(c: Cluster) -> None:
    c.deployment("edge")
    made = c.service("edge", type="LoadBalancer")
    c.event(
        made,
        "SyncLoadBalancerFailed",
        "Error syncing load balancer: failed to ensure load balancer: QuotaExceeded: no public IP "
        "addresses left",
        trigger=True,
    )


def claim(c: Cluster, name: str = "data", class_: str = "standard", **spec: object) -> Json:
    """A claim that is not bound, and a pod that waits for it."""
    c.add("StorageClass", "standard", "", provisioner="csi.example.com")
    made = c.add(
        "PersistentVolumeClaim",
        name,
        spec={
            "storageClassName": class_,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "10Gi"}},
            **spec,
        },
        status={"phase": "Pending"},
    )
    c.unscheduled(
        "api",
        "pod has unbound immediate PersistentVolumeClaims",
        pod_spec={"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": name}}]},
    )
    return made


@scenario("storage.class_missing", "PersistentVolumeClaim/shop/data")
def a_storage_class_that_does_not_exist(c: Cluster) -> None:
    c.event(
        claim(c, class_="fast"),
        "ProvisioningFailed",
        'storageclass.storage.k8s.io "fast" not found',
    )


@scenario("storage.pvc_missing", "PersistentVolumeClaim/shop/dta")
def a_claim_that_does_not_exist(c: Cluster) -> None:
    c.add("PersistentVolumeClaim", "data", spec={}, status={"phase": "Bound"})
    c.unscheduled(
        "api",
        'persistentvolumeclaim "dta" not found',
        pod_spec={"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "dta"}}]},
    )


@scenario("storage.pvc_unbound", "PersistentVolumeClaim/shop/data")
def a_claim_for_a_mode_that_no_volume_offers(c: Cluster) -> None:
    c.add(
        "PersistentVolume",
        "pv-1",
        "",
        spec={
            "storageClassName": "manual",
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "20Gi"},
        },
        status={"phase": "Available"},
    )
    made = claim(c, class_="manual", accessModes=["ReadWriteMany"])
    c.event(
        made,
        "FailedBinding",
        "no persistent volumes available for this claim and no storage class is set",
        warning=False,
    )


@scenario("storage.provision_failed", "PersistentVolumeClaim/shop/data")
def a_provider_that_makes_no_more_volumes(c: Cluster) -> None:
    c.event(
        claim(c),
        "ProvisioningFailed",
        'failed to provision volume with StorageClass "standard": rpc error: code = '
        "ResourceExhausted desc = VolumeLimitExceeded: you have reached the maximum "
        "number of volumes",
    )


@scenario("storage.attach_failed")
def a_volume_that_another_node_holds(c: Cluster) -> None:
    volumes = {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}
    c.add("PersistentVolumeClaim", "data", spec={"volumeName": "pv-1"}, status={"phase": "Bound"})
    c.deployment("api", status=waiting("ContainerCreating"), pod_spec=volumes)
    c.pod("api-older00000-aaaaa", pod_spec=volumes, node="worker-2", labels={"app": "api"})
    c.event(
        c.pods_of("api")[0],
        "FailedAttachVolume",
        'Multi-Attach error for volume "pv-1" Volume is already used by pod(s) '
        "api-older00000-aaaaa",
        trigger=True,
    )


@scenario("storage.mount_failed")
def a_file_server_that_does_not_answer(c: Cluster) -> None:
    c.deployment(
        "api",
        status=waiting("ContainerCreating"),
        pod_spec={"volumes": [{"name": "d", "nfs": {"server": "nfs.example.com"}}]},
    )
    c.event(
        c.pods_of("api")[0],
        "FailedMount",
        'MountVolume.SetUp failed for volume "d" : mount failed: exit status 32 Output: '
        "mount.nfs: Connection timed out",
        trigger=True,
    )


@scenario("storage.zone_conflict", "Node//worker-1")
def a_disk_in_a_zone_whose_node_is_cordoned(c: Cluster) -> None:
    c.node("worker-1", cordoned=True, labels={"topology.kubernetes.io/zone": "z-a"})
    c.add(
        "PersistentVolume",
        "pv-1",
        "",
        spec={
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [
                                {
                                    "key": "topology.kubernetes.io/zone",
                                    "operator": "In",
                                    "values": ["z-a"],
                                }
                            ]
                        }
                    ]
                }
            }
        },
        status={"phase": "Bound"},
    )
    c.add("PersistentVolumeClaim", "data", spec={"volumeName": "pv-1"}, status={"phase": "Bound"})
    c.unscheduled(
        "api",
        "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 1 "
        "node(s) were unschedulable, "
        "2 node(s) had volume node affinity conflict",
        pod_spec={"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]},
    )


@scenario("storage.volume_full", "PersistentVolumeClaim/shop/data")
def a_claim_that_is_nearly_full(c: Cluster) -> None:
    c.add("PersistentVolumeClaim", "data", spec={}, status={"phase": "Bound"})
    c.alert(
        "KubePersistentVolumeFillingUp",
        "The PersistentVolume claimed by data is only 1% free.",
        persistentvolumeclaim="data",
    )


@scenario("storage.permission_denied")
def a_volume_that_its_user_may_not_write(c: Cluster) -> None:
    c.add("PersistentVolumeClaim", "data", spec={}, status={"phase": "Bound"})
    c.crash(
        "mkdir: cannot create directory '/data/queue': Permission denied\n",
        spec=[
            container(
                volumeMounts=[{"name": "d", "mountPath": "/data"}],
                securityContext={"runAsUser": 1000},
            )
        ],
        pod_spec={"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]},
    )


@scenario("rbac.forbidden", "ClusterRole//api-reader")
def an_account_that_may_not_list(c: Cluster) -> None:
    c.add(
        "ClusterRole",
        "api-reader",
        "",
        rules=[{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}],
    )
    c.add(
        "ClusterRoleBinding",
        "api",
        "",
        roleRef={"kind": "ClusterRole", "name": "api-reader"},
        subjects=[{"kind": "ServiceAccount", "name": "api", "namespace": "shop"}],
    )
    c.crash(
        "E0505 11:58:00 reflector.go:147] failed to list *v1.Deployment: "
        "deployments.apps is forbidden: User "
        '"system:serviceaccount:shop:api" cannot list resource "deployments" in API '
        'group "apps" at the cluster scope\n'
    )


def no_pods(c: Cluster, said: str) -> None:
    """A Deployment whose pods are refused."""
    owner = c.deployment("api", pods=0, replicas=2)
    c.event(
        owner,
        "FailedCreate",
        f'Error creating: pods "api-abc12de345-x9y8z" is forbidden: {said}',
        trigger=True,
    )


@scenario("rbac.service_account_missing", "ServiceAccount/shop/deployer")
def an_account_that_does_not_exist(c: Cluster) -> None:
    no_pods(
        c, 'error looking up service account shop/deployer: serviceaccount "deployer" not found'
    )


@scenario("admission.webhook_failed", "Deployment/guard/guard")
def a_webhook_whose_pods_are_down(c: Cluster) -> None:
    c.deployment("guard", "guard", status=looping(1))
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
        '"pods.guard.example.com": failed '
        'to call webhook: Post "https://guard.guard.svc:443/v?timeout=10s": no '
        'endpoints available for service "guard"',
        trigger=True,
    )


@scenario("admission.policy_denied")
def a_pod_that_a_policy_denies(c: Cluster) -> None:
    owner = c.deployment("api", pods=0, replicas=2)
    c.event(
        owner,
        "FailedCreate",
        'Error creating: admission webhook "validate.kyverno.svc-fail" denied the '
        "request: resource "
        "Pod/shop/api was blocked due to the following policies: require-labels: label "
        "team is required",
        trigger=True,
    )


@scenario("quota.exceeded", "ResourceQuota/shop/compute")
def a_quota_that_is_used_up(c: Cluster) -> None:
    c.add(
        "ResourceQuota",
        "compute",
        spec={"hard": {"requests.cpu": "4"}},
        status={"used": {"requests.cpu": "4"}},
    )
    no_pods(
        c,
        (
            "exceeded quota: compute, requested: requests.cpu=500m, used: requests.cpu=4, "
            "limited: requests.cpu=4"
        ),
    )


@scenario("quota.limit_range")
def a_container_over_the_bounds(c: Cluster) -> None:
    c.add(
        "LimitRange", "bounds", spec={"limits": [{"type": "Container", "max": {"memory": "1Gi"}}]}
    )
    no_pods(c, "maximum memory usage per Container is 1Gi, but limit is 2Gi")


@scenario("quota.limit_range")
def a_quota_that_needs_limits(c: Cluster) -> None:
    no_pods(c, "failed quota: compute: must specify limits.cpu for: app; limits.memory for: app")


@scenario("node.not_ready", "Node//worker-1")
def a_node_that_has_gone_silent(c: Cluster) -> None:
    c.node(
        "worker-1",
        ready="Unknown",
        message="Kubelet stopped posting node status.",
        taints=[{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}],
    )
    c.deployment("api", pod_status={"conditions": [{"type": "Ready", "status": "False"}]})
    c.event(c.pods_of("api")[0], "NodeNotReady", "Node is not ready", trigger=True)


def evicted(c: Cluster, said: str) -> None:
    """A pod that its node has evicted."""
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


def pressure(type_: str) -> list[Json]:
    """A node's condition that says what it lacks."""
    return [
        {
            "type": type_,
            "status": "True",
            "reason": f"KubeletHas{type_}",
            "message": f"kubelet has {type_.lower()}",
        }
    ]


@scenario("node.disk_pressure", "Node//worker-1")
def a_node_out_of_disk(c: Cluster) -> None:
    c.node("worker-1", conditions=pressure("DiskPressure"))
    evicted(
        c,
        (
            "The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, "
            "available: 2Gi. "
        ),
    )


@scenario("node.memory_pressure", "Node//worker-1")
def a_node_out_of_memory(c: Cluster) -> None:
    c.node("worker-1", conditions=pressure("MemoryPressure"))
    c.deployment("greedy", "other")
    evicted(c, "The node was low on resource: memory. Threshold quantity: 100Mi, available: 60Mi. ")


@scenario("node.pid_pressure", "Node//worker-1")
def a_node_out_of_process_ids(c: Cluster) -> None:
    c.node("worker-1", conditions=pressure("PIDPressure"))
    evicted(c, "The node was low on resource: pids. ")


@scenario("node.runtime_failure", "Node//worker-1")
def a_node_whose_runtime_is_down(c: Cluster) -> None:
    said = (
        "[container runtime is down, PLEG is not healthy: pleg was last seen active 5m12s "
        "ago; threshold is 3m0s]"
    )
    node = c.node("worker-1", ready="False", message=said)
    c.deployment("api", status=waiting("ContainerCreating"))
    c.event(
        node,
        "NodeNotReady",
        "Node worker-1 status is now: NodeNotReady",
        warning=False,
        trigger=True,
    )


@scenario("node.maintenance", "Node//worker-1")
def a_node_that_is_drained(c: Cluster) -> None:
    node = c.node("worker-1", cordoned=True)
    c.deployment("api", node="worker-2")
    c.pod(
        "api-abc12de345-old00",
        node="worker-1",
        labels={"app": "api"},
        meta={"deletionTimestamp": ago(1)},
        pod_status={
            "conditions": [
                {
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "EvictionByEvictionAPI",
                    "message": "Eviction API: evicting",
                },
                {"type": "Ready", "status": "False"},
            ]
        },
    )
    c.event(
        node,
        "NodeNotSchedulable",
        "Node worker-1 status is now: NodeNotSchedulable",
        warning=False,
        trigger=True,
    )


@scenario("workload.scaled_to_zero", "Deployment/shop/orders")
def a_backend_that_is_scaled_to_zero(c: Cluster) -> None:
    orders = c.deployment("orders", pods=0, replicas=0)
    c.service("orders")
    deployment = next(
        o for o in c.objects if o["kind"] == "Deployment" and o["metadata"]["name"] == "orders"
    )
    c.event(
        deployment,
        "ScalingReplicaSet",
        "Scaled down replica set orders-abc12de345 to 0 from 2",
        warning=False,
    )
    assert orders
    caller(
        c,
        "GET http://orders/v1: dial tcp 10.96.1.7:80: connect: connection refused",
        env={"ORDERS": "http://orders"},
    )


@scenario("workload.rollout_misconfigured")
def a_rollout_that_is_paused(c: Cluster) -> None:
    c.deployment(
        "api",
        extra={"paused": True},
        more_status={
            "updatedReplicas": 0,
            "conditions": [
                {
                    "type": "Progressing",
                    "status": "Unknown",
                    "reason": "DeploymentPaused",
                    "message": "Deployment is paused",
                }
            ],
        },
    )
    c.alert(
        "KubeDeploymentGenerationMismatch",
        "Deployment shop/api has not been rolled out",
        deployment="api",
    )


@scenario("workload.rollout_misconfigured", "StatefulSet/shop/store")
def a_partition_that_holds_pods_back(c: Cluster) -> None:
    c.deployment(
        "store",
        kind="StatefulSet",
        pods=3,
        extra={"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}},
        more_status={
            "currentRevision": "store-a",
            "updateRevision": "store-b",
            "updatedReplicas": 0,
        },
    )
    c.alert(
        "KubeStatefulSetUpdateNotRolledOut",
        "StatefulSet shop/store update has not been rolled out.",
        statefulset="store",
    )


@scenario("workload.pdb_blocked", "PodDisruptionBudget/shop/api")
def a_budget_that_stops_a_drain(c: Cluster) -> None:
    node = c.node("worker-1", cordoned=True)
    c.deployment("api")
    c.add(
        "PodDisruptionBudget",
        "api",
        spec={"minAvailable": 1, "selector": {"matchLabels": {"app": "api"}}},
        status={"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1},
    )
    c.event(
        node,
        "FailedDraining",
        (
            "error when evicting pods: Cannot evict pod as it would violate the pod's "
            "disruption budget."
        ),
        trigger=True,
    )


@scenario("workload.job_deadline", "Job/shop/report")
def a_job_past_its_deadline(c: Cluster) -> None:
    job = c.deployment(
        "report",
        kind="Job",
        pods=0,
        extra={"activeDeadlineSeconds": 600},
        more_status={
            "conditions": [
                {
                    "type": "Failed",
                    "status": "True",
                    "reason": "DeadlineExceeded",
                    "message": "Job was active longer than specified deadline",
                }
            ]
        },
    )
    c.event(job, "DeadlineExceeded", "Job was active longer than specified deadline", trigger=True)


@scenario("app.crash", "Job/shop/report")
def a_job_whose_pods_fail(c: Cluster) -> None:
    failed = {"state": {"terminated": ended(1)}, "lastState": {}, "ready": False, "restartCount": 0}
    job = c.deployment(
        "report",
        kind="Job",
        status=failed,
        pod_spec={"restartPolicy": "Never"},
        pod_status={"phase": "Failed"},
        more_status={
            "conditions": [
                {
                    "type": "Failed",
                    "status": "True",
                    "reason": "BackoffLimitExceeded",
                    "message": "x",
                }
            ]
        },
    )
    c.log(
        "report",
        (
            'Traceback (most recent call last):\n  File "/app/r.py", line 3, in '
            "<module>\nZeroDivisionError: division by zero\n"
        ),
    )
    c.event(
        job, "BackoffLimitExceeded", "Job has reached the specified backoff limit", trigger=True
    )


@scenario("workload.cron_not_running", "CronJob/shop/nightly")
def a_schedule_that_is_suspended(c: Cluster) -> None:
    c.add(
        "CronJob",
        "nightly",
        spec={"suspend": True, "schedule": "0 2 * * *"},
        status={"lastScheduleTime": ago(9000)},
    )
    c.alert("CronJobNotRun", "CronJob shop/nightly has not run for 6 days", cronjob="nightly")


@scenario("workload.cron_not_running", "CronJob/shop/nightly")
def a_job_that_blocks_the_next_one(c: Cluster) -> None:
    cron = c.add(
        "CronJob",
        "nightly",
        spec={"schedule": "*/5 * * * *", "concurrencyPolicy": "Forbid"},
        status={"active": [{"name": "nightly-1"}]},
    )
    c.event(
        cron,
        "JobAlreadyActive",
        "Not starting job because prior execution is running and concurrency policy is Forbid",
        warning=False,
        trigger=True,
    )


def scaler(c: Cluster, conditions: list[Json], **more: object) -> Json:
    """An autoscaler of the api."""
    return c.add(
        "HorizontalPodAutoscaler",
        "api-hpa",
        spec={"maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "api"}},
        status={"conditions": conditions, **more},
    )


@scenario("hpa.metrics_unavailable", "Deployment/kube-system/metrics-server")
def a_metrics_server_that_is_down(c: Cluster) -> None:
    c.deployment("api")
    c.deployment("metrics-server", "kube-system", status=looping(1))
    c.service("metrics-server", "kube-system", port=443)
    c.add(
        "APIService",
        "v1beta1.metrics.k8s.io",
        "",
        spec={"service": {"name": "metrics-server", "namespace": "kube-system"}},
        status={
            "conditions": [
                {
                    "type": "Available",
                    "status": "False",
                    "message": "endpoints for service have no addresses",
                }
            ]
        },
    )
    said = (
        "failed to get cpu utilization: unable to get metrics for resource cpu: unable to "
        "fetch metrics from resource metrics API"
    )
    made = scaler(
        c,
        [
            {
                "type": "ScalingActive",
                "status": "False",
                "reason": "FailedGetResourceMetric",
                "message": said,
            }
        ],
    )
    c.event(made, "FailedGetResourceMetric", said, trigger=True)


@scenario("hpa.missing_requests")
def a_container_without_a_request(c: Cluster) -> None:
    c.deployment("api")
    said = (
        "failed to get cpu utilization: missing request for cpu in container app of Pod "
        "api-abc12de345-x0y2z"
    )
    made = scaler(
        c,
        [
            {
                "type": "ScalingActive",
                "status": "False",
                "reason": "FailedGetResourceMetric",
                "message": said,
            }
        ],
    )
    c.event(made, "FailedGetResourceMetric", said, trigger=True)


@scenario("hpa.target_missing", "HorizontalPodAutoscaler/shop/api-hpa")
def a_target_that_does_not_exist(c: Cluster) -> None:
    said = (
        "the HPA controller was unable to get the target's current scale: "
        'deployments.apps "api" not found'
    )
    made = scaler(
        c, [{"type": "AbleToScale", "status": "False", "reason": "FailedGetScale", "message": said}]
    )
    c.event(made, "FailedGetScale", said, trigger=True)


@scenario("hpa.at_limit", "HorizontalPodAutoscaler/shop/api-hpa")
def an_autoscaler_at_its_limit(c: Cluster) -> None:
    c.deployment("api", pods=5)
    scaler(
        c,
        [
            {
                "type": "ScalingLimited",
                "status": "True",
                "reason": "TooManyReplicas",
                "message": "the desired replica count is more than the maximum replica count",
            }
        ],
        currentReplicas=5,
        desiredReplicas=5,
    )
    c.alert(
        "KubeHpaMaxedOut",
        "HPA shop/api-hpa has been running at max replicas for longer than 15 minutes.",
        horizontalpodautoscaler="api-hpa",
    )


def certificate(c: Cluster, reason: str, message: str, **status: object) -> None:
    """A certificate that is not ready."""
    c.add(
        "Certificate",
        "api-cert",
        spec={
            "secretName": "api-tls",
            "dnsNames": ["api.example.com"],
            "issuerRef": {"name": "letsencrypt", "kind": "ClusterIssuer"},
        },
        status={
            "conditions": [
                {"type": "Ready", "status": "False", "reason": reason, "message": message}
            ],
            **status,
        },
    )


@scenario("tls.cert_expired", "Certificate/shop/api-cert")
def a_certificate_that_was_not_renewed(c: Cluster) -> None:
    certificate(c, "Expired", "Certificate expired on 2026-05-04", notAfter=ago(900))
    c.add("Secret", "api-tls", data={"tls.crt": "x"})
    caller(
        c,
        'Get "https://api.example.com/": tls: failed to verify certificate: x509: '
        "certificate has expired or is not yet valid: "
        "current time 2026-05-05T11:59:00Z is after 2026-05-04T21:00:00Z",
    )


@scenario("tls.cert_untrusted", "ConfigMap/shop/ca-bundle")
def an_authority_that_is_not_in_the_bundle(c: Cluster) -> None:
    c.add("ConfigMap", "ca-bundle", data={"ca.crt": "x"})
    c.crash(
        (
            'FATAL Get "https://ledger.example.com/v1": x509: certificate signed by '
            "unknown authority\n"
        ),
        pod_spec={"volumes": [{"name": "ca", "configMap": {"name": "ca-bundle"}}]},
    )


@scenario("tls.name_mismatch")
def a_certificate_for_another_name(c: Cluster) -> None:
    c.crash(
        'FATAL Get "https://ledger.old.example.com/v1": x509: certificate is valid for '
        "ledger.example.com, not ledger.old.example.com\n"
    )


@scenario("tls.cert_not_issued", "Certificate/shop/api-cert")
def a_certificate_that_was_never_issued(c: Cluster) -> None:
    certificate(c, "DoesNotExist", "Issuing certificate as Secret does not exist")
    c.deployment(
        "api",
        status=waiting("ContainerCreating"),
        pod_spec={"volumes": [{"name": "tls", "secret": {"secretName": "api-tls"}}]},
    )
    c.event(
        c.pods_of("api")[0],
        "FailedMount",
        'MountVolume.SetUp failed for volume "tls" : secret "api-tls" not found',
        trigger=True,
    )


@scenario("controlplane.component_down", "Pod/kube-system/kube-scheduler-cp-1")
def a_scheduler_that_is_down(c: Cluster) -> None:
    c.pod(
        "kube-scheduler-cp-1",
        "kube-system",
        labels={"component": "kube-scheduler"},
        node="cp-1",
        status=looping(1),
        spec=[container("kube-scheduler")],
    )
    c.logs["kube-system/kube-scheduler-cp-1/kube-scheduler/previous"] = (
        'E0505 11:58:00 run.go:74] "command failed" err="stat '
        '/etc/kubernetes/scheduler.conf: no such file or directory"\n'
    )
    c.deployment("api", node=None, pod_status=c.pending())
    c.alert(
        "KubePodNotReady",
        "Pod is Pending for 15 minutes",
        pod=c.pods_of("api")[0]["metadata"]["name"],
    )


@scenario("controlplane.api_unavailable", "Pod/kube-system/etcd-cp-1")
def a_store_that_does_not_keep_up(c: Cluster) -> None:
    c.pod(
        "etcd-cp-1",
        "kube-system",
        labels={"component": "etcd"},
        node="cp-1",
        spec=[container("etcd")],
    )
    c.logs["kube-system/etcd-cp-1/etcd"] = (
        '{"level":"warn","msg":"slow fdatasync","took":"4.1s"}\n' * 3
    )
    c.deployment("api", status=looping(1))
    c.log(
        "api",
        (
            "E0505 11:58:00 leaderelection.go:369] Failed to update lock: etcdserver: "
            "request timed out\n"
        ),
        previous=True,
    )
    c.back_off()


@scenario("none.no_fault", "")
def a_scale_up_that_went_well(c: Cluster) -> None:
    c.deployment("api", pods=2)
    deployment = next(o for o in c.objects if o["kind"] == "Deployment")
    c.event(
        deployment,
        "ScalingReplicaSet",
        "Scaled up replica set api-abc12de345 to 2 from 1",
        warning=False,
        trigger=True,
    )


@scenario("none.no_fault", "")
def an_alert_that_fires_by_design(c: Cluster) -> None:
    c.alert(
        "Watchdog",
        "This is an alert meant to ensure that the entire alerting pipeline is functional.",
        severity="none",
    )


@scenario("none.no_fault", "")
def a_job_that_was_retried_and_is_complete(c: Cluster) -> None:
    failed = {
        "state": {"terminated": ended(1, minutes=30)},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
    }
    job = c.deployment(
        "report",
        kind="Job",
        status=failed,
        pod_spec={"restartPolicy": "Never"},
        pod_status={"phase": "Failed"},
        more_status={"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]},
    )
    c.log("report", "Error: connection reset by peer\n")
    c.event(job, "Completed", "Job completed", warning=False, trigger=True)


@scenario("none.no_fault", "")
def a_memory_kill_of_last_week(c: Cluster) -> None:
    c.deployment(
        "api",
        status=running(8000, restarts=1, last=ended(137, "OOMKilled", minutes=8000)),
        age=20000,
    )
    c.alert(
        "KubePodRestarts", "Pod has restarted once", pod=c.pods_of("api")[0]["metadata"]["name"]
    )


@scenario("none.no_fault", "")
def a_pod_that_is_some_seconds_old(c: Cluster) -> None:
    c.deployment(
        "api",
        spec=[container(readinessProbe={"httpGet": {"path": "/", "port": 80}})],
        status=running(0.3, ready=False),
        age=0.4,
    )
    c.event(
        c.pods_of("api")[0],
        "Unhealthy",
        "Readiness probe failed: dial tcp 10.2.0.4:80: connect: connection refused",
        container="app",
        count=1,
        first=0.3,
        minutes=0.2,
        trigger=True,
    )


@scenario("unknown.insufficient_evidence", "")
def a_container_that_was_killed_by_nobody_known(c: Cluster) -> None:
    c.deployment("api", status=looping(137, "ContainerStatusUnknown"))
    c.back_off()


@scenario("unknown.insufficient_evidence", "")
def a_crash_that_left_no_word(c: Cluster) -> None:
    c.deployment("api", status=looping(1))
    c.back_off()
