"""Scenarios of single pods: image, configuration, scheduling, resources, probes, programs."""

from .clusters import Cluster, Json, ago, container, ended, looping, running, waiting
from .scenarios import scenario

IMAGE = "quay.example.io/shop/api:v2"


def pull(
    c: Cluster, error: str, *, image: str = IMAGE, reason: str = "ImagePullBackOff", **more: object
) -> Json:
    """A pod that cannot have its image, with the registry's answer in the event alone."""
    c.deployment(
        "api",
        spec=[container(image=image)],
        status=waiting(reason, f'Back-off pulling image "{image}"'),
        **more,
    )
    pod = c.pods_of("api")[0]
    c.event(pod, "BackOff", f'Back-off pulling image "{image}"', warning=False, container="app")
    c.event(pod, "Failed", "Error: ErrImagePull", container="app", trigger=True)
    c.event(pod, "Failed", f'Failed to pull image "{image}": {error}', container="app")
    return pod


@scenario("image.not_found")
def a_tag_that_was_never_pushed(c: Cluster) -> None:
    pull(
        c,
        f'rpc error: code = NotFound desc = failed to pull and unpack image "{IMAGE}": '
        "failed to resolve reference "
        f'"{IMAGE}": {IMAGE}: not found',
        before=[container(image="quay.example.io/shop/api:v1")],
    )


@scenario("image.not_found")
def a_public_name_with_a_slip(c: Cluster) -> None:
    pull(
        c,
        "failed to resolve reference: pull access denied, repository does not exist or "
        "may require authorization: "
        "server message: insufficient_scope: authorization failed",
        image="ngnix:1.27",
    )


@scenario("image.not_found")
def a_manifest_that_is_unknown(c: Cluster) -> None:
    pull(
        c, "manifest for quay.example.io/shop/api:v2 not found: manifest unknown: manifest unknown"
    )


@scenario("image.auth_failed", "Secret/shop/regcred")
def a_pull_secret_that_does_not_exist(c: Cluster) -> None:
    pod = pull(
        c,
        "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized",
        pod_spec={"imagePullSecrets": [{"name": "regcred"}]},
    )
    c.event(
        pod,
        "FailedToRetrieveImagePullSecret",
        "Unable to retrieve some image pull secrets (regcred); attempting to "
        "pull the image may not succeed.",
    )


@scenario("image.auth_failed", "Secret/shop/ecr")
def a_registry_token_that_has_expired(c: Cluster) -> None:
    c.add(
        "Secret",
        "ecr",
        age=3000,
        type="kubernetes.io/dockerconfigjson",
        data={".dockerconfigjson": "xxx"},
    )
    pull(
        c,
        "unexpected status from HEAD request to "
        "https://1234.dkr.ecr.example.com/v2/api/manifests/v2: 403 Forbidden: "
        "Your authorization token has expired. Reauthenticate and try again.",
        pod_spec={"imagePullSecrets": [{"name": "ecr"}]},
    )


@scenario("image.auth_failed")
def a_private_repository_without_credentials(c: Cluster) -> None:
    pull(
        c,
        "pull access denied, repository does not exist or may require authorization: "
        "authorization failed: "
        "no basic auth credentials",
    )


@scenario("image.registry_unreachable")
def a_registry_that_does_not_resolve(c: Cluster) -> None:
    pull(
        c,
        'failed to do request: Head "https://quay.example.io/v2/shop/api/manifests/v2":'
        " dial tcp: lookup "
        "quay.example.io on 10.0.0.2:53: no such host",
    )


@scenario("image.registry_unreachable")
def a_registry_whose_certificate_is_not_accepted(c: Cluster) -> None:
    pull(
        c,
        'failed to do request: Head "https://quay.example.io/v2/": tls: failed to '
        "verify certificate: x509: "
        "certificate signed by unknown authority",
    )


@scenario("image.registry_unreachable")
def a_registry_that_does_not_answer(c: Cluster) -> None:
    pull(
        c,
        (
            'failed to do request: Head "https://quay.example.io/v2/": dial tcp '
            "203.0.113.9:443: i/o timeout"
        ),
    )


@scenario("image.rate_limited")
def a_registry_that_limits_pulls(c: Cluster) -> None:
    pull(
        c,
        "failed to copy: httpReadSeeker: failed open: unexpected status code 429 Too "
        "Many Requests - Server message: "
        "toomanyrequests: You have reached your unauthenticated pull rate limit.",
        image="redis:7",
    )


@scenario("image.invalid_reference")
def a_template_that_was_not_filled_in(c: Cluster) -> None:
    image = "quay.example.io/shop/api:{{ .Values.tag }}"
    c.deployment(
        "api",
        spec=[container(image=image)],
        status=waiting(
            "InvalidImageName",
            (
                f'Failed to apply default image tag "{image}": couldn\'t parse image name: '
                "invalid reference format"
            ),
        ),
    )
    c.event(
        c.pods_of("api")[0],
        "InspectFailed",
        f'Failed to apply default image tag "{image}": invalid reference format',
        trigger=True,
    )


@scenario("image.never_pull")
def an_image_that_may_not_be_pulled(c: Cluster) -> None:
    c.deployment(
        "api",
        status=waiting(
            "ErrImageNeverPull", 'Container image "api:1" is not present with pull policy of Never'
        ),
    )
    c.event(
        c.pods_of("api")[0],
        "ErrImageNeverPull",
        'Container image "api:1" is not present with pull policy of Never',
        trigger=True,
    )


@scenario("image.arch_mismatch")
def a_program_for_another_processor(c: Cluster) -> None:
    c.node("worker-1", arch="arm64")
    c.crash("exec /usr/local/bin/api: exec format error\n", code=255)


@scenario("image.arch_mismatch")
def an_image_without_a_build_for_the_platform(c: Cluster) -> None:
    pull(c, "no match for platform in manifest sha256:aa: not found")


def config_error(c: Cluster, said: str, **more: object) -> None:
    c.deployment("api", status=waiting("CreateContainerConfigError", said), **more)
    c.event(c.pods_of("api")[0], "Failed", f"Error: {said}", container="app", trigger=True)


@scenario("config.missing_configmap", "ConfigMap/shop/api-conf")
def a_config_map_with_another_name(c: Cluster) -> None:
    c.add("ConfigMap", "api-config", data={"a": "b"})
    config_error(
        c,
        'configmap "api-conf" not found',
        spec=[container(envFrom=[{"configMapRef": {"name": "api-conf"}}])],
    )


@scenario("config.missing_configmap", "ConfigMap/shop/api-conf")
def a_volume_of_a_config_map_that_does_not_exist(c: Cluster) -> None:
    c.deployment(
        "api",
        status=waiting("ContainerCreating"),
        pod_spec={"volumes": [{"name": "conf", "configMap": {"name": "api-conf"}}]},
    )
    c.event(
        c.pods_of("api")[0],
        "FailedMount",
        'MountVolume.SetUp failed for volume "conf" : configmap "api-conf" not found',
        trigger=True,
    )


@scenario("config.missing_secret", "Secret/shop/api-db")
def a_secret_that_does_not_exist(c: Cluster) -> None:
    config_error(c, 'secret "api-db" not found')


@scenario("config.missing_key", "ConfigMap/shop/api-conf")
def a_key_that_a_config_map_does_not_have(c: Cluster) -> None:
    c.add("ConfigMap", "api-conf", data={"url": "x", "level": "y"})
    config_error(c, "couldn't find key endpoint in ConfigMap shop/api-conf")


@scenario("config.missing_key", "Secret/shop/api-db")
def an_item_of_a_volume_that_a_secret_does_not_have(c: Cluster) -> None:
    c.add("Secret", "api-db", data={"user": "x"})
    c.deployment(
        "api",
        status=waiting("ContainerCreating"),
        pod_spec={
            "volumes": [
                {
                    "name": "db",
                    "secret": {"secretName": "api-db", "items": [{"key": "password", "path": "p"}]},
                }
            ]
        },
    )
    c.event(
        c.pods_of("api")[0],
        "FailedMount",
        'MountVolume.SetUp failed for volume "db" : references non-existent secret key: password',
        trigger=True,
    )


@scenario("config.missing_env")
def a_python_program_without_its_variable(c: Cluster) -> None:
    c.crash(
        'Traceback (most recent call last):\n  File "/app/main.py", line 9, in '
        "<module>\n    url = os.environ['PAYMENT_URL']\n"
        "  File \"<frozen os>\", line 685, in __getitem__\nKeyError: 'PAYMENT_URL'\n",
        before=[container(env=[{"name": "PAYMENT_URL", "value": "https://pay.example.com"}])],
    )


@scenario("config.missing_env")
def a_go_program_without_its_variable(c: Cluster) -> None:
    c.crash(
        "2026/05/05 11:58:00 starting\npanic: environment variable DATABASE_URL is "
        "required\n\ngoroutine 1 [running]:\n"
        "main.main()\n\t/src/main.go:14 +0x1d\n",
        code=2,
    )


@scenario("config.invalid_value", "ConfigMap/shop/web-conf")
def a_web_server_with_an_unknown_directive(c: Cluster) -> None:
    c.add("ConfigMap", "web-conf", data={"nginx.conf": "serverr {}"})
    c.crash(
        (
            '2026/05/05 11:58:00 [emerg] 1#1: unknown directive "serverr" in '
            "/etc/nginx/nginx.conf:12\n"
        ),
        name="web",
        spec=[
            container(
                "web",
                volumeMounts=[
                    {"name": "conf", "mountPath": "/etc/nginx/nginx.conf", "subPath": "nginx.conf"}
                ],
            )
        ],
        pod_spec={"volumes": [{"name": "conf", "configMap": {"name": "web-conf"}}]},
    )


@scenario("config.invalid_value")
def a_setting_that_cannot_be_parsed(c: Cluster) -> None:
    c.crash(
        'level=fatal msg="invalid configuration" error="time: unknown unit \\"sec\\" '
        'in duration \\"30sec\\""\n'
    )


@scenario("config.bad_command")
def a_command_that_is_not_in_the_image(c: Cluster) -> None:
    c.deployment(
        "api",
        status=looping(
            128,
            "StartError",
            message='failed to create containerd task: exec: "/app/servr": stat '
            "/app/servr: no such file or directory: unknown",
        ),
    )
    c.back_off()


@scenario("config.bad_command")
def a_flag_that_the_program_does_not_know(c: Cluster) -> None:
    c.crash(
        "Error: unknown flag: --listen-adress\nUsage:\n  api [flags]\n",
        code=2,
        spec=[container(args=["--listen-adress=:8080"])],
    )


@scenario("config.bad_command")
def a_script_that_may_not_be_executed(c: Cluster) -> None:
    c.crash(
        "/bin/sh: /scripts/run.sh: Permission denied\n",
        code=126,
        spec=[container(volumeMounts=[{"name": "s", "mountPath": "/scripts"}])],
        pod_spec={"volumes": [{"name": "s", "configMap": {"name": "scripts", "defaultMode": 420}}]},
    )


@scenario("config.bad_command")
def a_shell_that_does_not_find_its_program(c: Cluster) -> None:
    c.crash("sh: 1: gunicornn: not found\n", code=127)


@scenario("config.security_context")
def an_image_that_runs_as_root_where_it_may_not(c: Cluster) -> None:
    said = 'container has runAsNonRoot and image will run as root (pod: "api", container: app)'
    config_error(c, said, spec=[container(securityContext={"runAsNonRoot": True})])


@scenario("config.security_context")
def a_program_that_writes_to_a_read_only_root(c: Cluster) -> None:
    c.crash(
        (
            'nginx: [emerg] mkdir() "/var/cache/nginx/client_temp" failed (30: Read-only '
            "file system)\n"
        ),
        spec=[container(securityContext={"readOnlyRootFilesystem": True})],
    )


@scenario("config.security_context")
def a_program_without_the_right_to_change_owners(c: Cluster) -> None:
    c.crash(
        "chown: /var/lib/app: Operation not permitted\n",
        spec=[container(securityContext={"capabilities": {"drop": ["ALL"]}})],
    )


@scenario("scheduling.insufficient_resources")
def a_pod_that_no_node_can_hold(c: Cluster) -> None:
    c.unscheduled(
        "api",
        (
            "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 3 "
            "Insufficient memory"
        ),
        spec=[container(resources={"requests": {"memory": "64Gi"}})],
    )


@scenario("scheduling.insufficient_resources", "DaemonSet/kube-system/gpu-device-plugin")
def a_device_that_no_node_offers(c: Cluster) -> None:
    c.deployment(
        "gpu-device-plugin",
        "kube-system",
        kind="DaemonSet",
        status=looping(1),
        more_status={"numberReady": 0, "desiredNumberScheduled": 1},
    )
    c.unscheduled(
        "api",
        (
            "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 3 "
            "Insufficient nvidia.com/gpu"
        ),
        spec=[
            container(
                resources={"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}}
            )
        ],
    )


@scenario("scheduling.insufficient_resources")
def nodes_without_a_slot_for_one_more_pod(c: Cluster) -> None:
    c.unscheduled(
        "api",
        (
            "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 3 "
            "Too many pods"
        ),
    )


@scenario("scheduling.node_affinity")
def a_node_selector_that_no_node_matches(c: Cluster) -> None:
    c.node("worker-1", labels={"disk": "ssd"})
    c.unscheduled(
        "api",
        "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 3 "
        "node(s) didn't match Pod's "
        "node affinity/selector",
        pod_spec={"nodeSelector": {"disk": "nvme"}},
    )


@scenario("scheduling.node_affinity")
def a_node_name_that_does_not_exist(c: Cluster) -> None:
    c.deployment(
        "api",
        status=waiting("ContainerCreating"),
        node="worker-9",
        pod_status={"phase": "Pending", "containerStatuses": [], "conditions": []},
    )
    c.alert("KubePodNotReady", "Pod has been Pending", pod=c.pods_of("api")[0]["metadata"]["name"])


@scenario("scheduling.taint")
def selected_nodes_that_are_tainted(c: Cluster) -> None:
    c.node(
        "worker-1",
        labels={"pool": "gpu"},
        taints=[{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}],
    )
    c.unscheduled(
        "api",
        "1 node(s) had untolerated taint {dedicated: gpu}, 1 node(s) had untolerated taint "
        "{node-role.kubernetes.io/control-plane: }, 2 node(s) didn't match Pod's node "
        "affinity/selector",
        pod_spec={"nodeSelector": {"pool": "gpu"}},
    )


@scenario("scheduling.pod_affinity")
def more_replicas_than_nodes_to_spread_them(c: Cluster) -> None:
    c.unscheduled(
        "api",
        "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 3 "
        "node(s) didn't match pod "
        "anti-affinity rules",
        replicas=4,
    )


@scenario("scheduling.pod_affinity")
def a_spread_over_a_label_that_nodes_do_not_have(c: Cluster) -> None:
    c.unscheduled(
        "api",
        "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 3 "
        "node(s) didn't match pod "
        "topology spread constraints (missing required label)",
    )


@scenario("scheduling.host_port")
def a_host_port_that_is_taken(c: Cluster) -> None:
    ports = [{"containerPort": 80, "hostPort": 80}]
    c.deployment("edge", "ingress", kind="DaemonSet", pods=3, spec=[container(ports=ports)])
    c.unscheduled(
        "api",
        "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 3 "
        "node(s) didn't have free "
        "ports for the requested pod ports",
        spec=[container(ports=ports)],
    )


@scenario("scheduling.node_unschedulable", "Node//worker-1")
def nodes_that_are_all_cordoned(c: Cluster) -> None:
    for n in (1, 2, 3):
        c.node(f"worker-{n}", cordoned=True)
    c.unscheduled(
        "api",
        (
            "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 3 "
            "node(s) were unschedulable"
        ),
    )


@scenario("scheduling.gated")
def a_gate_that_nobody_opens(c: Cluster) -> None:
    c.deployment(
        "api",
        node=None,
        pod_spec={"schedulingGates": [{"name": "example.com/quota"}]},
        pod_status=c.pending(
            "Scheduling is blocked due to non-empty scheduling gates", reason="SchedulingGated"
        ),
    )
    c.alert(
        "KubePodNotReady",
        "Pod is Pending for 15 minutes",
        pod=c.pods_of("api")[0]["metadata"]["name"],
    )


@scenario("scheduling.preempted", "Pod/ops/important")
def a_pod_that_had_to_make_room(c: Cluster) -> None:
    winner = c.pod("important", "ops", pod_spec={"priority": 1000, "priorityClassName": "urgent"})
    c.unscheduled(
        "api",
        (
            "1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, 3 "
            "Insufficient cpu"
        ),
        spec=[container(resources={"requests": {"cpu": "3"}})],
    )
    pod = {
        "kind": "Pod",
        "metadata": {"name": "api-abc12de345-gone0", "namespace": "shop", "uid": "x"},
    }
    c.event(
        pod,
        "Preempted",
        f"Preempted by pod {winner['metadata']['uid']} on node worker-1",
        warning=False,
        trigger=True,
    )


LIMIT = {"resources": {"limits": {"memory": "256Mi"}, "requests": {"memory": "128Mi"}}}


@scenario("resources.oom_killed")
def a_sidecar_that_needs_more_memory(c: Cluster) -> None:
    c.deployment(
        "api",
        spec=[container(), container("proxy", **LIMIT)],
        status=[running(), looping(137, "OOMKilled")],
    )
    c.log("api", "INFO listening on :8080\n")
    c.back_off("api", "proxy")


@scenario("resources.oom_killed")
def a_limit_in_milli_bytes(c: Cluster) -> None:
    c.deployment(
        "api",
        spec=[container(resources={"limits": {"memory": "128m"}})],
        status=waiting("ContainerCreating"),
    )
    c.event(
        c.pods_of("api")[0],
        "FailedCreatePodSandBox",
        "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to "
        "create containerd task: container init was OOM-killed (memory limit too low?): unknown",
        trigger=True,
    )


@scenario("resources.cpu_throttled")
def a_cpu_limit_that_is_too_low(c: Cluster) -> None:
    c.deployment("api", spec=[container(resources={"limits": {"cpu": "100m"}})])
    c.log("api", "WARN slow request GET /report took 4211ms\n")
    c.alert(
        "CPUThrottlingHigh",
        "62% throttling of CPU in namespace shop for container app",
        pod=c.pods_of("api")[0]["metadata"]["name"],
        container="app",
    )


@scenario("resources.ephemeral_storage")
def an_empty_dir_over_its_limit(c: Cluster) -> None:
    said = 'Usage of EmptyDir volume "tmp" exceeds the limit "1Gi". '
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


@scenario("resources.process_limits")
def a_program_without_file_descriptors(c: Cluster) -> None:
    c.deployment("api", status=running(ready=False))
    c.log("api", "ERROR accept tcp [::]:8080: accept4: too many open files\n" * 5)
    c.event(
        c.pods_of("api")[0],
        "Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 500",
        container="app",
        count=40,
        trigger=True,
    )


def probe(kind: str, path: str = "/healthz", port: int | str = 8080, **more: int) -> Json:
    """A container with a probe."""
    return container(
        ports=[{"containerPort": 8080, "name": "http"}],
        **{
            f"{kind}Probe": {
                "httpGet": {"path": path, "port": port},
                "periodSeconds": 10,
                "failureThreshold": 3,
                "timeoutSeconds": 1,
                **more,
            }
        },
    )


def killed(
    c: Cluster,
    spec: Json,
    said: str,
    log: str,
    *,
    ran: float = 0.6,
    kind: str = "Liveness",
    first: float = 29,
    age: float = 30,
) -> None:
    """A container that its probe has killed again and again."""
    c.deployment(
        "api",
        spec=[spec],
        status=running(0.5, ready=False, restarts=8, last=ended(137, minutes=0.6, ran=ran)),
        age=age,
    )
    pod = c.pods_of("api")[0]
    c.log("api", log, previous=True)
    c.event(
        pod,
        "Unhealthy",
        f"{kind} probe failed: {said}",
        container="app",
        count=24,
        first=first,
        trigger=True,
    )
    c.event(
        pod,
        "Killing",
        f"Container app failed {kind.lower()} probe, will be restarted",
        warning=False,
        container="app",
    )


@scenario("probe.liveness_misconfigured")
def a_liveness_probe_on_another_port(c: Cluster) -> None:
    killed(
        c,
        probe("liveness", port=8081),
        'Get "http://10.2.3.4:8081/healthz": dial tcp 10.2.3.4:8081: connect: connection refused',
        "INFO server listening on port 8080\nINFO GET /orders 200\n",
    )


@scenario("probe.liveness_misconfigured")
def a_liveness_probe_with_too_short_a_timeout(c: Cluster) -> None:
    killed(
        c,
        probe("liveness"),
        'Get "http://10.2.3.4:8080/healthz": context deadline exceeded (Client.Timeout exceeded)',
        (
            "INFO server listening on port 8080\nINFO GET /healthz 200 1840ms\nINFO GET "
            "/healthz 200 1790ms\n"
        ),
    )


@scenario("probe.readiness_misconfigured")
def a_readiness_path_that_is_not_served(c: Cluster) -> None:
    c.deployment("api", spec=[probe("readiness", "/ready")], status=running(ready=False))
    c.log("api", "INFO listening on :8080\nINFO GET /ready 404\n")
    c.event(
        c.pods_of("api")[0],
        "Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 404",
        container="app",
        count=70,
        trigger=True,
    )


@scenario("probe.startup_too_slow")
def a_program_that_is_killed_while_it_starts(c: Cluster) -> None:
    killed(
        c,
        probe("liveness"),
        'Get "http://10.2.3.4:8080/healthz": dial tcp 10.2.3.4:8080: connect: connection refused',
        "INFO loading model weights 10%\nINFO loading model weights 40%\n",
    )


@scenario("app.crash")
def a_go_program_with_a_nil_pointer(c: Cluster) -> None:
    c.crash(
        "panic: runtime error: invalid memory address or nil pointer "
        "dereference\n[signal SIGSEGV: segmentation violation "
        "code=0x1 addr=0x0 pc=0x4a]\n\ngoroutine 1 "
        "[running]:\nmain.load(...)\n\t/src/cmd/load.go:42 +0x1d\n",
        code=2,
    )


@scenario("app.crash")
def a_node_program_without_a_module(c: Cluster) -> None:
    c.crash(
        "node:internal/modules/cjs/loader:1080\n  throw err;\nError: Cannot find "
        "module 'express'\nRequire stack:\n- /app/index.js\n"
    )


@scenario("app.crash")
def a_java_program_with_a_deep_cause(c: Cluster) -> None:
    c.crash(
        'Exception in thread "main" java.lang.IllegalStateException: cannot '
        "start\n\tat com.example.App.main(App.java:10)\n"
        'Caused by: java.lang.NullPointerException: Cannot invoke "Order.id()" because '
        '"o" is null\n'
        "\tat com.example.Orders.load(Orders.java:77)\n"
    )


@scenario("app.native_crash")
def a_program_that_dies_of_a_segmentation_fault(c: Cluster) -> None:
    c.crash("INFO decoding frame 9912\nSegmentation fault (core dumped)\n", code=139)


@scenario("app.heap_exhausted")
def a_java_heap_that_is_too_small(c: Cluster) -> None:
    c.crash(
        "java.lang.OutOfMemoryError: Java heap space\n\tat "
        "java.base/java.util.Arrays.copyOf(Arrays.java:3512)\n"
        "Terminating due to java.lang.OutOfMemoryError: Java heap space\n",
        code=3,
        spec=[
            container(
                env=[{"name": "JAVA_OPTS", "value": "-Xmx256m"}],
                resources={"limits": {"memory": "1Gi"}},
            )
        ],
    )


@scenario("app.heap_exhausted")
def a_javascript_heap_that_is_too_small(c: Cluster) -> None:
    c.crash(
        (
            "<--- Last few GCs --->\nFATAL ERROR: Reached heap limit Allocation failed - "
            "JavaScript heap out of memory\n"
        ),
        code=134,
    )


@scenario("app.clean_exit")
def a_one_shot_program_run_as_a_service(c: Cluster) -> None:
    c.crash("INFO migration finished\nINFO all done\n", status=looping(0, "Completed"))


@scenario("app.port_conflict")
def two_containers_that_want_one_port(c: Cluster) -> None:
    c.deployment("api", spec=[container(), container("metrics")], status=[running(), looping(1)])
    c.log(
        "api",
        "Error: listen tcp :8080: bind: address already in use\n",
        container="metrics",
        previous=True,
    )
    c.back_off("api", "metrics")


@scenario("app.unresponsive")
def a_program_that_has_locked_itself(c: Cluster) -> None:
    killed(
        c,
        probe("liveness"),
        'Get "http://10.2.3.4:8080/healthz": context deadline exceeded (Client.Timeout exceeded)',
        "INFO listening on :8080\nFound one Java-level deadlock:\n=============================\n",
        ran=300,
        first=20,
        age=4000,
    )


@scenario("app.unresponsive")
def a_program_that_stops_answering_after_hours(c: Cluster) -> None:
    killed(
        c,
        probe("liveness"),
        'Get "http://10.2.3.4:8080/healthz": context deadline exceeded (Client.Timeout exceeded)',
        "INFO listening on :8080\nINFO GET /healthz 200 2ms\n",
        ran=300,
        first=10,
        age=4000,
    )


@scenario("lifecycle.hook_failed")
def a_post_start_hook_that_fails(c: Cluster) -> None:
    spec = container(
        lifecycle={
            "postStart": {"exec": {"command": ["/bin/sh", "-c", "curl -f http://x/register"]}}
        }
    )
    c.deployment("api", spec=[spec], status=looping(137))
    c.event(
        c.pods_of("api")[0],
        "FailedPostStartHook",
        "PostStartHook failed",
        container="app",
        trigger=True,
    )


@scenario("lifecycle.stuck_terminating", "PersistentVolumeClaim/shop/data")
def a_claim_that_keeps_its_finalizer(c: Cluster) -> None:
    c.add(
        "PersistentVolumeClaim",
        "data",
        meta={"deletionTimestamp": ago(90), "finalizers": ["example.com/backup"]},
        spec={},
        status={"phase": "Bound"},
    )
    c.alert(
        "ResourceStuckTerminating",
        "PersistentVolumeClaim data is being deleted for 90 minutes",
        persistentvolumeclaim="data",
    )


@scenario("lifecycle.stuck_terminating", "Namespace//preview")
def a_namespace_that_is_not_deleted(c: Cluster) -> None:
    said = (
        "Some content in the namespace has finalizers remaining: example.com/guard in 1 "
        "resource instances"
    )
    c.add(
        "Namespace",
        "preview",
        "",
        meta={"deletionTimestamp": ago(90)},
        spec={"finalizers": ["kubernetes"]},
        status={
            "phase": "Terminating",
            "conditions": [
                {
                    "type": "NamespaceFinalizersRemaining",
                    "status": "True",
                    "reason": "SomeFinalizersRemain",
                    "message": said,
                }
            ],
        },
    )
    c.alert(
        "NamespaceStuckTerminating",
        "Namespace preview is Terminating for 90 minutes",
        namespace="preview",
    )
