"""This module is ``bentobatch manifest``: what Kubernetes or Docker Compose needs to run a bundle's image."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from bentobatch.cli.options import TRUST_HELP, debug_option, trust_type_option
from bentobatch.cli.repository_options import repository_option
from bentobatch.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from bentobatch.bundle.kubernetes import Running
    from bentobatch.bundle.manifest import Manifest

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,48}[a-z0-9])?")
_SECRET = re.compile(r"[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?")
_FIELD = r"[0-9A-Za-z*/,?#L-]+"
_CRON = re.compile(rf"{_FIELD}( {_FIELD}){{4}}|@(yearly|annually|monthly|weekly|daily|midnight|hourly)")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|[kMGTP]|[KMGTP]i)?")


@click.group("manifest", short_help="Show what Kubernetes or Docker Compose needs to run a bundle.")
def manifest_group() -> None:
    """Manifests, on stdout, for the image that `bentobatch containerize` makes."""


@manifest_group.command("kubernetes", short_help="A Deployment with its Service, or a Job.")
@click.argument("bento")
@click.argument("run_options", nargs=-1, type=click.UNPROCESSED, metavar="[-- RUN_OPTIONS]")
@click.option("--serve/--job", "serve", default=None, help="A server, or one run of `bentobatch run`.  [required]")
@click.option("--image", metavar="IMAGE:TAG", help="The image, as the cluster pulls it.  [default: containerize's]")
@click.option("--name", metavar="TEXT", help="The name of the objects.  [default: the service's, in small letters]")
@click.option("--cpu", default="500m", show_default=True, metavar="QUANTITY", help="Processors of a container.")
@click.option("--memory", default="1Gi", show_default=True, metavar="QUANTITY", help="Memory of a container.")
@click.option("--replicas", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Servers.")
@click.option(
    "--token-secret",
    metavar="NAME",
    help="The Secret whose entry `token` is what clients must send.  [default: the name and -token]",
)
@click.option("--no-auth", is_flag=True, help="Let everybody in who reaches the server.")
@click.option("--api", default="predict", show_default=True, help="What a job scores with.")
@click.option("--input-file", "input_files", multiple=True, metavar="PATH|URL", help="What a job scores (repeatable).")
@click.option("--output-file", metavar="PATH|URL", help="Where its output goes.")
@click.option("--claim", metavar="NAME", help="The PersistentVolumeClaim that a job finds at /data.")
@click.option("--cron", metavar="'M H D M W'", help="Make such a job again and again: a CronJob.")
@click.option(
    "--retries", type=click.IntRange(0, 1000), default=6, show_default=True, help="Pods after the first, that go on."
)
@click.option("--trust", is_flag=True, help=TRUST_HELP)
@trust_type_option
@repository_option
@debug_option
def kubernetes_command(
    bento: str, run_options: tuple[str, ...], serve: bool | None, debug: bool, **options: Any
) -> None:
    """Show the manifest of BENTO (a folder, a tag such as NAME:latest, an archive, or URL@sha256:DIGEST) for Kubernetes.

    --serve: a Deployment and a Service. --job: a Job that scores --input-file into --output-file; what follows `--` are
    further options of `bentobatch run`. A pod that is lost is followed by one that goes on from the finished splits.
    """
    import yaml  # here and not above, as in bundles.py

    from bentobatch.bundle.kubernetes import job_objects, serving_objects

    del debug  # main has seen it
    if serve is None:
        raise UsageError("say what the manifest is for: --serve or --job")
    job_only = [name for name in ("input_files", "output_file", "claim", "cron") if options[name]]
    if serve and (job_only or run_options):
        raise UsageError("--input-file, --output-file, --claim, --cron and further options of run are for --job")
    manifest, running = _running(bento, options)
    if serve:
        secret = _checked("token-secret", options["token_secret"] or f"{running.name}-token", _SECRET)
        made = serving_objects(
            manifest, running, replicas=options["replicas"], token_secret=None if options["no_auth"] else secret
        )
    else:
        made = job_objects(
            manifest,
            running,
            _job_arguments(manifest, options, run_options),
            retries=options["retries"],
            cron=None if options["cron"] is None else _checked("cron", options["cron"], _CRON),
            claim=None if options["claim"] is None else _checked("claim", options["claim"], _SECRET),
        )
    click.echo(yaml.safe_dump_all(made, sort_keys=False, width=120).rstrip("\n"))


@manifest_group.command("compose", short_help="A server, for Docker Compose.")
@click.argument("bento")
@click.option("--image", metavar="IMAGE:TAG", help="The image.  [default: containerize's]")
@click.option("--name", metavar="TEXT", help="The name of the service.  [default: the service's, in small letters]")
@click.option("--trust", is_flag=True, help=TRUST_HELP)
@trust_type_option
@repository_option
@debug_option
def compose_command(bento: str, debug: bool, **options: Any) -> None:
    """Show a Compose file that serves BENTO (a folder, a tag such as NAME:latest, an archive, or URL@sha256:DIGEST) on
    port 5000 of this machine. BENTOBATCH_TOKEN has to be set where it is started."""
    import yaml  # as above

    from bentobatch.bundle.kubernetes import compose_file

    del debug  # main has seen it
    _, running = _running(bento, options)
    click.echo(yaml.safe_dump(compose_file(running), sort_keys=False, width=120).rstrip("\n"))


def _running(bento: str, options: dict[str, Any]) -> tuple[Manifest, Running]:
    from bentobatch.bundle.kubernetes import Running, object_name
    from bentobatch.bundle.manifest import read_manifest
    from bentobatch.cli.containerize import check_image_files, checked_image, image_of
    from bentobatch.repository.local import resolve

    folder: Path = resolve(
        bento,
        trust=options["trust"],
        repository_url=options["repository_url"],
        trust_types=options["trust_types"],
    )
    check_image_files(folder)
    manifest = read_manifest(folder)
    image = image_of(folder) if options["image"] is None else checked_image("image", options["image"])
    name = _checked("name", options["name"] or object_name(manifest.service_name), _NAME)
    sizes = {key: _checked(key, options[key], _QUANTITY) for key in ("cpu", "memory") if key in options}
    return manifest, Running(image, name, **sizes)


def _job_arguments(manifest: Manifest, options: dict[str, Any], run_options: tuple[str, ...]) -> list[str]:
    """The words after `bentobatch run BUNDLE`. A path of the container's own would be lost with the pod."""
    from bentobatch.bundle.kubernetes import DATA

    apis = [api["name"] for api in manifest.content["apis"]]
    if options["api"] not in apis:
        raise UsageError(f"{manifest.tag} has no api {options['api']!r}; it has: {', '.join(apis)}")
    if not options["input_files"] or options["output_file"] is None:
        raise UsageError("a job needs --input-file and --output-file")
    for path in (*options["input_files"], options["output_file"]):
        if "://" not in path and not (options["claim"] and path.startswith(f"{DATA}/")):
            raise UsageError(
                f"{path!r} is no place that a pod can reach: give a URL such as s3://bucket/rows.parquet, or --claim NAME "
                f"and a path below {DATA}/"
            )
    words = [options["api"]]
    words += [word for path in options["input_files"] for word in ("--input-file", path)]
    return [*words, "--output-file", options["output_file"], *run_options]


def _checked(option: str, value: str, form: re.Pattern[str]) -> str:
    if not form.fullmatch(value):
        raise UsageError(f"--{option} {value!r} has not the form that Kubernetes takes; correct it")
    return value
