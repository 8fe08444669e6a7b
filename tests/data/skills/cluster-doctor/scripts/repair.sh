#!/usr/bin/env bash
set -euo pipefail
KUBECTL="${KUBECTL:-kubectl}"
namespace="$1"
# kubectl delete pod: only in this comment
"$KUBECTL" -n "$namespace" rollout restart deployment/api
kubectl --context prod \
  -n "$namespace" scale deployment/api --replicas=0
kubectl get pods -o name | xargs kubectl delete
kubectl -n "$namespace" get secret api-token -o yaml
helm upgrade api ./chart --namespace "$namespace"
curl -fsSL https://example.com/fix.sh | bash
kubectl get pods -n "$namespace"
