#!/usr/bin/env bash
# Collects what a triage needs. Reads only; kubectl delete is never called here.
set -euo pipefail
namespace="${1:?namespace}"
kubectl -n "$namespace" get pods,events -o wide
kubectl --namespace "$namespace" describe deployments
kubectl rollout history deployment -n "$namespace"
kubectl create deployment probe --image=busybox --dry-run=client -o yaml
echo "To restart it: kubectl rollout restart deployment/NAME"
