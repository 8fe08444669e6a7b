"""The closed list of causes that a report may name, with what each means."""

from collections.abc import Mapping

CATEGORIES: Mapping[str, str] = {
    "image.not_found": "tag, digest or repository does not exist in a registry that answers",
    "image.auth_failed": (
        "registry refuses the credentials, or the pull secret is missing, wrong or expired"
    ),
    "image.registry_unreachable": (
        "registry host does not resolve, does not answer, or its TLS is not accepted"
    ),
    "image.rate_limited": "registry answers 429 / toomanyrequests",
    "image.invalid_reference": "image reference cannot be parsed (InvalidImageName)",
    "image.never_pull": "pull policy Never and image not on the node (ErrImageNeverPull)",
    "image.arch_mismatch": (
        "image has no build for the node's CPU or OS (exec format error, no match for platform)"
    ),
    "config.missing_configmap": "a required ConfigMap does not exist",
    "config.missing_secret": "a required Secret does not exist (and is not a pull secret)",
    "config.missing_key": "ConfigMap or Secret exists, the key asked for does not",
    "config.missing_env": "program needs an environment variable that is unset or empty",
    "config.invalid_value": "a configuration file or value is malformed or wrong",
    "config.bad_command": (
        "command, entry point, argument or inline script is wrong or not executable"
    ),
    "config.security_context": (
        "container security settings (user, read-only root, capabilities) stop the program"
    ),
    "scheduling.insufficient_resources": "no node has enough free CPU, memory, GPU, or pod slots",
    "scheduling.node_affinity": "node selector, node affinity or node name matches no usable node",
    "scheduling.taint": "taint without toleration is what keeps the pod away",
    "scheduling.pod_affinity": "pod (anti-)affinity or topology spread cannot be met",
    "scheduling.host_port": "requested host port is taken on every candidate node",
    "scheduling.node_unschedulable": "candidate nodes are cordoned",
    "scheduling.gated": "a scheduling gate was not removed",
    "scheduling.preempted": "pod was removed for a pod of higher priority",
    "resources.oom_killed": (
        "container exceeded its own memory limit and was OOM-killed (also at start)"
    ),
    "resources.cpu_throttled": "CPU limit too low for the load",
    "resources.ephemeral_storage": "pod exceeded its own ephemeral-storage or emptyDir limit",
    "resources.process_limits": (
        "file descriptors, processes or threads of the process are exhausted"
    ),
    "probe.liveness_misconfigured": (
        "liveness probe (port, path, protocol, timeout) kills a healthy program"
    ),
    "probe.readiness_misconfigured": "readiness probe is wrong, program is fine",
    "probe.startup_too_slow": "program is killed or kept out before its normal start ends",
    "app.crash": "unhandled error, panic or exception in the program",
    "app.native_crash": "SIGSEGV, SIGABRT, SIGBUS, SIGILL of native code",
    "app.heap_exhausted": "managed heap (JVM, V8) exhausted inside the container limit",
    "app.clean_exit": "program ends with 0 but is run as a service",
    "app.port_conflict": "listen port already used inside the pod",
    "app.unresponsive": (
        "program hangs, deadlocks, or reports itself unhealthy for an internal reason"
    ),
    "lifecycle.hook_failed": "postStart or preStop hook fails",
    "lifecycle.stuck_terminating": "object cannot be deleted (finalizer, grace period)",
    "dependency.unavailable": (
        "a backend refuses connections or has no ready instance, and no deeper cause is visible"
    ),
    "dependency.timeout": "a backend does not answer in time, and no deeper cause is visible",
    "dependency.host_not_found": "program asks for a name that does not exist (typo, old name)",
    "dependency.auth_failed": "a backend refuses the credentials",
    "dependency.saturated": "connection slots, pool or rate limit of a backend are used up",
    "network.service_selector": "Service selector matches no (or wrong) pods",
    "network.service_port": "Service port or targetPort does not match the pods",
    "network.service_missing": "the Service object does not exist",
    "network.policy_blocked": "a NetworkPolicy drops the traffic",
    "network.mesh_policy": "service-mesh policy or mTLS mode refuses the traffic",
    "network.dns_failure": "cluster DNS itself is broken",
    "network.ingress_misconfigured": (
        "Ingress or Gateway route: class, host, path, backend or port is wrong"
    ),
    "network.cni_failure": "pod network cannot be set up (CNI error, no free addresses)",
    "network.load_balancer": "load balancer of a Service is not provisioned",
    "storage.class_missing": "StorageClass or its provisioner does not exist",
    "storage.pvc_missing": "the PersistentVolumeClaim does not exist",
    "storage.pvc_unbound": "claim finds no matching volume (size, mode, selector, volume taken)",
    "storage.provision_failed": "provisioner fails to create the volume",
    "storage.attach_failed": "volume cannot be attached (Multi-Attach, stuck detach, attach limit)",
    "storage.mount_failed": "volume is there but cannot be mounted",
    "storage.zone_conflict": "volume is bound to a zone or node the pod cannot use",
    "storage.volume_full": "volume is full",
    "storage.permission_denied": "ownership or mode of a volume stops the program",
    "rbac.forbidden": "the identity lacks a Kubernetes permission",
    "rbac.service_account_missing": "the ServiceAccount does not exist",
    "admission.webhook_failed": "an admission webhook cannot be called (down, timeout, TLS)",
    "admission.policy_denied": (
        "Pod Security, Kyverno, Gatekeeper or another policy rejects the object"
    ),
    "quota.exceeded": "ResourceQuota is used up",
    "quota.limit_range": (
        "LimitRange bound violated, or a quota needs requests/limits that are not set"
    ),
    "node.not_ready": "node does not report or is NotReady",
    "node.disk_pressure": "node (not the pod) is out of disk",
    "node.memory_pressure": "node is out of memory",
    "node.pid_pressure": "node is out of process IDs",
    "node.runtime_failure": "container runtime of the node is broken",
    "node.maintenance": "planned drain, reboot or upgrade",
    "workload.scaled_to_zero": "needed workload has zero replicas on purpose or by mistake",
    "workload.rollout_misconfigured": "rollout strategy, partition or pause holds the update back",
    "workload.pdb_blocked": "PodDisruptionBudget blocks an eviction",
    "workload.job_deadline": "Job hit activeDeadlineSeconds",
    "workload.cron_not_running": (
        "CronJob suspended, blocked by concurrency, missed or with a bad schedule"
    ),
    "hpa.metrics_unavailable": "metrics API or adapter gives no values",
    "hpa.missing_requests": "utilisation cannot be computed for lack of requests",
    "hpa.target_missing": "scale target does not exist or has no scale",
    "hpa.at_limit": "maximum replicas reached while load asks for more",
    "tls.cert_expired": "certificate expired or not yet valid",
    "tls.cert_untrusted": "certificate authority not trusted, self-signed",
    "tls.name_mismatch": "certificate not valid for the name used",
    "tls.cert_not_issued": "certificate was never issued (issuer, challenge, approval)",
    "controlplane.component_down": (
        "scheduler, controller manager, kube-proxy, or another cluster component is down"
    ),
    "controlplane.api_unavailable": "API server or etcd unavailable, overloaded, or throttling",
    "none.no_fault": "nothing needs repair: normal, planned, or already over",
    "unknown.insufficient_evidence": "inputs do not allow a cause to be named",
}
