"""This module tests `bentobatch manifest`: that Kubernetes and Docker Compose are told what the image needs, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bentobatch.bundle.kubernetes import object_name
from bentobatch.bundle.manifest import read_manifest
from bentobatch.cli.main import main

JOB = ["--job", "--input-file", "s3://bucket/in.parquet", "--output-file", "s3://bucket/out.parquet"]


def shown(capfd: Any, *words: str) -> list[Any]:
    """The documents that a command prints; no alias may stand in them, which some readers refuse."""
    code = main(["manifest", *words])
    out, err = capfd.readouterr()
    assert code == 0, err
    assert not any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(out))
    return list(yaml.safe_load_all(out))


def pods_of(document: Any) -> Iterator[dict[str, Any]]:
    """The pod specs anywhere in an object."""
    if isinstance(document, dict):
        if "containers" in document:
            yield document
        for value in document.values():
            yield from pods_of(value)
    elif isinstance(document, list):
        for value in document:
            yield from pods_of(value)


def test_a_server_is_a_deployment_and_a_service_that_finds_it(bundles: Path, capfd: Any) -> None:
    """Selector, labels and port names agree; probes ask what they are for; the token comes from a Secret."""
    deployment, service = shown(
        capfd, "kubernetes", str(bundles / "linear"), "--serve", "--image", "r.example.org/linear:1", "--replicas", "3",
        "--memory", "2Gi",
    )  # fmt: skip
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    assert (service["apiVersion"], service["kind"]) == ("v1", "Service")
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert selector.items() <= template["metadata"]["labels"].items()
    assert service["spec"]["selector"] == selector
    assert service["spec"]["ports"] == [{"name": "http", "port": 80, "targetPort": "http"}]
    assert container["ports"] == [{"name": "http", "containerPort": 5000}]
    assert {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness")} == {"/readyz"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert container["env"] == [
        {"name": "BENTOBATCH_TOKEN", "valueFrom": {"secretKeyRef": {"name": "linear-token", "key": "token"}}}
    ]
    assert container["image"] == "r.example.org/linear:1"
    assert container["args"] == ["serve-gunicorn"]
    assert container["resources"] == {
        "requests": {"cpu": "500m", "memory": "2Gi"}, "limits": {"memory": "2Gi"},
    }  # fmt: skip
    assert deployment["spec"]["replicas"] == 3
    digest = read_manifest(bundles / "linear").digest
    assert deployment["metadata"]["annotations"]["bentobatch/digest"] == f"sha256:{digest}"


@pytest.mark.parametrize("words", [["--serve"], JOB, [*JOB, "--cron", "0 3 * * *"]])
def test_every_pod_has_the_least_rights(bundles: Path, capfd: Any, words: list[str]) -> None:
    """Kubernetes' "restricted" level, a root file system that is read only, and no token of the cluster's."""
    documents = shown(capfd, "kubernetes", str(bundles / "linear"), *words)
    pods = [pod for document in documents for pod in pods_of(document)]
    assert len(pods) == 1
    assert pods[0]["automountServiceAccountToken"] is False
    security = pods[0]["securityContext"]
    assert (security["runAsNonRoot"], security["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert security["runAsUser"] > 0
    for container in pods[0]["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pods[0]["volumes"]}
        assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]


def test_a_job_runs_the_bundle_and_its_pods_go_on_from_each_other(bundles: Path, capfd: Any) -> None:
    """A lost pod is followed by another; an exit code that would come again ends the job. What follows -- is run's."""
    (job,) = shown(
        capfd,
        "kubernetes",
        str(bundles / "linear"),
        *JOB,
        "--api",
        "both",
        "--retries",
        "2",
        "--",
        "--max-rejects",
        "5",
    )
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    assert spec["backoffLimit"] == 2
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["containerName"]) == ("FailJob", "bento")
    assert not {0, 69, 74, 75, 137, 143} & set(rule["onExitCodes"]["values"])
    assert spec["template"]["spec"]["containers"][0]["args"] == [
        "run", "both", "--input-file", "s3://bucket/in.parquet", "--output-file", "s3://bucket/out.parquet",
        "--max-rejects", "5",
    ]  # fmt: skip


def test_a_cron_job_makes_such_jobs_one_at_a_time(bundles: Path, capfd: Any) -> None:
    """Two of them would want the same output."""
    words = ["kubernetes", str(bundles / "linear"), *JOB]
    (job,) = shown(capfd, *words)
    (cron,) = shown(capfd, *words, "--cron", "0 3 * * *")
    assert (cron["apiVersion"], cron["kind"]) == ("batch/v1", "CronJob")
    assert cron["spec"]["schedule"] == "0 3 * * *"
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    assert cron["spec"]["jobTemplate"]["spec"] == job["spec"]


def test_a_claim_is_mounted_where_the_paths_say(bundles: Path, capfd: Any) -> None:
    """And is writable for the image's user."""
    (job,) = shown(
        capfd, "kubernetes", str(bundles / "linear"), "--job", "--claim", "scores", "--input-file", "/data/in",
        "--output-file", "/data/out",
    )  # fmt: skip
    pod = job["spec"]["template"]["spec"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "scores"}} in pod["volumes"]
    assert {"name": "data", "mountPath": "/data"} in pod["containers"][0]["volumeMounts"]
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsUser"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--serve or --job"),
        (["--serve", "--cron", "@daily"], "are for --job"),
        (["--job"], "needs --input-file and --output-file"),
        (["--job", "--input-file", "in.csv", "--output-file", "s3://b/o"], "no place that a pod can reach"),
        (
            ["--job", "--claim", "c", "--input-file", "/etc/x", "--output-file", "/data/o"],
            "no place that a pod can reach",
        ),
        ([*JOB, "--api", "nope"], "has no api 'nope'"),
        ([*JOB, "--cron", "every day"], "--cron"),
        (["--serve", "--name", "Upper"], "--name"),
        (["--serve", "--image", "a b"], "--image"),
        (["--serve", "--memory", "much"], "--memory"),
        (["--serve", "--token-secret", "a/b"], "--token-secret"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_here(bundles: Path, capfd: Any, words: list[str], said: str) -> None:
    """In one line, with exit 2."""
    assert main(["manifest", "kubernetes", str(bundles / "linear"), *words]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert said in err


def test_no_text_becomes_structure_or_is_expanded(bundles: Path, capfd: Any) -> None:
    """S16 for manifests: a URL with newlines, YAML and $(NAME) is one text; Kubernetes would expand the last in args."""
    hostile = "s3://b/x\nkind: Evil\n- {a: &b}$(BENTOBATCH_TOKEN)"
    documents = shown(
        capfd, "kubernetes", str(bundles / "linear"), "--job", "--input-file", "s3://b/i", "--output-file", hostile
    )
    assert len(documents) == 1
    args = documents[0]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[-1] == hostile.replace("$(", "$$(")


def test_a_compose_file_serves_on_loopback_with_a_token(bundles: Path, capfd: Any) -> None:
    """Compose stops where the token is not set."""
    (document,) = shown(capfd, "compose", str(bundles / "linear"))
    assert list(document) == ["services"]
    service = document["services"]["linear"]
    assert service["ports"] == ["127.0.0.1:5000:5000"]
    assert service["environment"]["BENTOBATCH_TOKEN"].startswith("${BENTOBATCH_TOKEN:?")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["image"].startswith("linear:2")


@pytest.mark.parametrize(("name", "expected"), [("Iris_2", "iris-2"), ("A" * 63, "a" * 50), ("X__", "x")])
def test_names_are_those_that_kubernetes_takes(name: str, expected: str) -> None:
    """Small letters, digits and hyphens."""
    assert object_name(name) == expected
