"""This module is ``bentobatch containerize``: a bundle becomes a container image, by docker or podman."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click

from bentobatch.cli.options import TRUST_HELP, debug_option, trust_type_option
from bentobatch.cli.repository_options import quiet_option, repository_option, told
from bentobatch.errors import BentobatchError, MissingDependencyError, UnavailableError, UsageError

BUILDERS = ("docker", "podman")
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._/:@-]{0,254}")
_BUILD_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(=[^\0\r\n]*)?")
_SILENCE = 60


@click.command("containerize", short_help="Make a container image of a bundle.")
@click.argument("bento")
@click.option(
    "--tag", "-t", metavar="IMAGE:TAG", help="The image's name.  [default: the bundle's tag in small letters]"
)
@click.option(
    "--build-arg",
    "build_arguments",
    multiple=True,
    metavar="NAME=VALUE",
    help="For the Dockerfile: EXTRA_PIP_INSTALL_ARGS, UID, GID (repeatable).",
)
@click.option("--push", is_flag=True, help="Push the image to its registry afterwards.")
@click.option(
    "--builder",
    type=click.Choice(BUILDERS),
    help="The program that builds.  [default: docker where it is installed, else podman]",
)
@click.option("--trust", is_flag=True, help=TRUST_HELP)
@trust_type_option
@repository_option
@quiet_option
@debug_option
def containerize_command(
    bento: str,
    tag: str | None,
    build_arguments: tuple[str, ...],
    push: bool,
    builder: str | None,
    trust: bool,
    trust_types: tuple[str, ...],
    repository_url: str | None,
    quiet: bool,
    debug: bool,
) -> None:
    """Build the image of BENTO (a folder, a tag such as NAME:latest, an archive, or URL@sha256:DIGEST) by its Dockerfile,
    and print the image's name. Every file is compared with the bundle's digest before.

    Run it by `docker run -p 5000:5000 -e BENTOBATCH_TOKEN IMAGE`, or score a file with `docker run IMAGE run predict …`.
    """
    # Here and not above, as in bundles.py.
    from bentobatch.bundle.manifest import read_manifest
    from bentobatch.bundle.policy import check_policy
    from bentobatch.repository.local import resolve

    del debug  # main has seen it
    for argument in build_arguments:
        if not _BUILD_ARGUMENT.fullmatch(argument):
            raise UsageError(f"--build-arg {argument!r} is malformed: write NAME=VALUE")
    if tag is not None:
        checked_image("tag", tag)
    with told(quiet=quiet):
        folder = resolve(bento, trust=trust, repository_url=repository_url, trust_types=trust_types)
        image = image_of(folder) if tag is None else tag
        check_image_files(folder)
        check_policy(folder, read_manifest(folder))  # its setup.sh is about to run, if only in a container
        program = found_builder(builder)
        options = [word for argument in build_arguments for word in ("--build-arg", argument)]
        _run([program, "build", "--tag", image, *options, str(folder)], quiet=quiet)
        if push:
            _run([program, "push", image], quiet=quiet)
    click.echo(image)


def checked_image(option: str, name: str) -> str:
    """``name`` itself, where it can be an image's.

    Raises:
        UsageError: it cannot; the message names the ``option``.
    """
    if not _IMAGE.fullmatch(name):
        raise UsageError(
            f"--{option} {name!r} is no image's name: write one such as iris:1 or registry.example.org/team/iris:1"
        )
    return name


def image_of(folder: Path) -> str:
    """The name of an image for the bundle in ``folder``: its tag in small letters, as registries take it."""
    from bentobatch.bundle.manifest import read_manifest

    manifest = read_manifest(folder)
    name = re.sub(r"_+$", "", manifest.service_name.lower())
    version = re.sub(r"^[.-]+", "", manifest.service_version.lower())
    return f"{re.sub('_+', '_', name)}:{re.sub(r'[^a-z0-9_.-]', '.', version) or '0'}"


def check_image_files(folder: Path) -> None:
    """Compare the bundle with its digest; it has to have a Dockerfile of ours.

    Raises:
        UsageError: it has none, or BentoML's, whose base images have no bentobatch in them.
        BundleError: it was changed.
    """
    from bentobatch.bundle.layout import DOCKERFILE, ENTRYPOINT
    from bentobatch.bundle.verify import verify_bundle

    manifest = verify_bundle(folder)
    if manifest.written_by is not None:
        raise UsageError(
            f"bundle {folder}: BentoML wrote it, and its Dockerfile: make it one of bentobatch with `bentobatch migrate`"
        )
    if not {DOCKERFILE, ENTRYPOINT} <= manifest.files.keys():
        raise UsageError(f"bundle {folder}: it was saved before bundles had a {DOCKERFILE}: load it and save it again")


def found_builder(wanted: str | None) -> str:
    """The path of docker or podman, whose service answers.

    Raises:
        MissingDependencyError: none is installed.
        UnavailableError: it does not answer, as docker's command without its daemon.
    """
    names = BUILDERS if wanted is None else (wanted,)
    found = next((path for path in map(shutil.which, names) if path is not None), None)
    if found is None:
        raise MissingDependencyError(
            f"{' and '.join(names)} {'is' if wanted else 'are'} not installed here, and one is needed to build an image: "
            "install it, or copy the bundle to a machine that has it"
        )
    name = Path(found).name
    words = ["version", "--format", "{{.Server.Version}}"] if name == "docker" else ["info"]
    try:
        done = subprocess.run(
            [found, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=_SILENCE, check=False
        )
        status, said = done.returncode, done.stderr.decode("utf-8", "replace").strip()
    except subprocess.TimeoutExpired:
        status, said = 1, f"no answer for {_SILENCE} seconds"
    except OSError as error:
        status, said = 1, str(error.strerror)
    if status != 0:
        reason = " ".join((said.splitlines() or [f"status {status}"])[-1].split())
        raise UnavailableError(f"{name} does not answer ({reason[:200]}): start its service, and try again")
    return found


def _run(command: list[str], *, quiet: bool) -> None:
    """Run one step of the builder; what it says goes to stderr, with ``quiet`` only when it fails."""
    name, step = Path(command[0]).name, command[1]
    sys.stderr.flush()
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if quiet else 2,
            stderr=subprocess.STDOUT if quiet else None,
            check=False,
        )
    except OSError as error:
        raise UnavailableError(f"{command[0]} cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        if done.stdout:
            click.echo(done.stdout.decode("utf-8", "replace"), err=True, nl=False)
        failed = UnavailableError if step == "push" else BentobatchError
        raise failed(f"`{name} {step}` ended with status {done.returncode}; what it said stands above")
