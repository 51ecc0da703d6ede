"""This module describes how a bundle's image runs elsewhere: for Kubernetes and for Docker Compose, as plain values.

The containers run as the image's user, on a root file system that they cannot write, with no right that they do not need.

Sources: the Kubernetes API reference (apps/v1, v1, batch/v1), the Compose specification.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bentobatch.bundle.image import PORT, USER
from bentobatch.bundle.manifest import Manifest

TOKEN_KEY = "token"  # noqa: S105 - the name of the secret's entry, not its value
DATA = "/data"
"""Where a claim's files stand in a job's container."""
_HOPELESS = [2, 65, 66, 70, 71, 73]
"""The exit codes of README's table after which the same command would end the same way."""


@dataclass(frozen=True)
class Running:
    """What is asked for: the ``image``, the ``name`` of all objects, and the size of a container (in Kubernetes' units)."""

    image: str
    name: str
    cpu: str = "500m"
    memory: str = "1Gi"


def object_name(service_name: str) -> str:
    """A name for Kubernetes' objects (RFC 1123, and short enough for what a CronJob appends): "Iris_2" is "iris-2"."""
    return re.sub(r"[^a-z0-9]+", "-", service_name.lower()).strip("-")[:50].rstrip("-")


def serving_objects(
    manifest: Manifest, running: Running, *, replicas: int, token_secret: str | None
) -> list[dict[str, Any]]:
    """A Deployment and its Service. ``token_secret``: the Secret that holds the token; None lets everybody in."""
    selector = {"app.kubernetes.io/name": running.name}
    if token_secret is None:
        env: list[dict[str, Any]] = [{"name": "BENTOBATCH_NO_AUTH", "value": "1"}]
    else:
        reference = {"secretKeyRef": {"name": token_secret, "key": TOKEN_KEY}}
        env = [{"name": "BENTOBATCH_TOKEN", "valueFrom": reference}]
    container = {
        **_container(running, ["serve-gunicorn"], env),
        "ports": [{"name": "http", "containerPort": PORT}],
        "startupProbe": {**_probe("readyz"), "periodSeconds": 5, "failureThreshold": 60},
        "readinessProbe": {**_probe("readyz"), "periodSeconds": 5},
        "livenessProbe": {**_probe("livez"), "periodSeconds": 10, "failureThreshold": 6},
    }
    deployment = {
        "replicas": replicas,
        "selector": {"matchLabels": selector},
        "template": {"metadata": {"labels": _labels(manifest, running)}, "spec": _pod(container)},
    }
    service = {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
    return [
        _object("apps/v1", "Deployment", manifest, running, deployment),
        _object("v1", "Service", manifest, running, service),
    ]


def job_objects(
    manifest: Manifest, running: Running, arguments: Sequence[str], *, retries: int, cron: str | None, claim: str | None
) -> list[dict[str, Any]]:
    """A Job that runs ``bentobatch run BUNDLE`` with these ``arguments``, or a CronJob that makes such Jobs.

    A pod that is lost is followed by another (``retries`` times), which goes on from the finished splits; one that ended
    with a code that means "it would end so again" is not. ``claim``: the PersistentVolumeClaim that is mounted at /data.
    """
    spec = _pod(_container(running, ["run", *(word.replace("$(", "$$(") for word in arguments)], []))
    if claim is not None:
        spec["volumes"].append({"name": "data", "persistentVolumeClaim": {"claimName": claim}})
        spec["containers"][0]["volumeMounts"].append({"name": "data", "mountPath": DATA})
        spec["securityContext"]["fsGroup"] = USER
    rule = {
        "action": "FailJob",
        "onExitCodes": {"containerName": "bento", "operator": "In", "values": _HOPELESS},
    }
    job = {
        "backoffLimit": retries,
        "podFailurePolicy": {"rules": [rule]},
        "template": {
            "metadata": {"labels": _labels(manifest, running)},
            "spec": {"restartPolicy": "Never", **spec},
        },
    }
    if cron is None:
        return [_object("batch/v1", "Job", manifest, running, job)]
    scheduled = {"schedule": cron, "concurrencyPolicy": "Forbid", "jobTemplate": {"spec": job}}
    return [_object("batch/v1", "CronJob", manifest, running, scheduled)]


def compose_file(running: Running) -> dict[str, Any]:
    """A Compose file with the server as its one service, on loopback; BENTOBATCH_TOKEN comes from who starts it."""
    service = {
        "image": running.image,
        "command": ["serve-gunicorn"],
        "ports": [f"127.0.0.1:{PORT}:{PORT}"],
        "environment": {"BENTOBATCH_TOKEN": "${BENTOBATCH_TOKEN:?set it to the token that clients send}"},
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108 - the container's own
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
    }
    return {"services": {running.name: service}}


def _object(
    kind_version: str, kind: str, manifest: Manifest, running: Running, spec: Mapping[str, Any]
) -> dict[str, Any]:
    annotations = {"bentobatch/tag": manifest.tag, "bentobatch/digest": f"sha256:{manifest.digest}"}
    metadata = {"name": running.name, "labels": _labels(manifest, running), "annotations": annotations}
    return {"apiVersion": kind_version, "kind": kind, "metadata": metadata, "spec": dict(spec)}


def _labels(manifest: Manifest, running: Running) -> dict[str, str]:
    version = re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$", "", manifest.service_version[:63]) or "0"
    return {
        "app.kubernetes.io/name": running.name,
        "app.kubernetes.io/version": version,
        "app.kubernetes.io/managed-by": "bentobatch",
    }


def _container(running: Running, arguments: list[str], env: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": "bento",
        "image": running.image,
        "args": arguments,
        "env": env,
        "resources": {
            "requests": {"cpu": running.cpu, "memory": running.memory},
            "limits": {"memory": running.memory},  # a limit on the processor only makes an idle machine slow
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the pod's own
    }


def _pod(container: dict[str, Any]) -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # a Service named bentobatch would set BENTOBATCH_PORT
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }


def _probe(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": f"/{path}", "port": "http"}, "timeoutSeconds": 5}
