"""This module writes what makes a container image of a bundle: Dockerfile, its entry point, and the steps that it takes.

The two scripts are the same for every bundle. Into the Dockerfile go a checked image name, the numbers of a Python and the
bundle's tag, and nothing else that came from elsewhere, so that no text of a bundle can become an instruction.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bentobatch.bundle import layout
from bentobatch.service.environment import is_image
from bentobatch.tags import check_service_name, check_version

_log = logging.getLogger("bentobatch.bundle")

PORT = 5000
USER = 1034
"""The number of the user, and of the group, that the server runs as."""
CONDA_IMAGE = "condaforge/miniforge3:24.9.2-0"
"""Where the bundle asks for conda packages, and names no image."""
BUNDLE = "/bundle"
"""The bundle's folder in an image."""

_PYTHON = re.compile(r"3\.\d{1,2}")
_INTERPRETER = re.compile(r"\s*(python|pip)\b[\s=<>!~.,*0-9]*")


def write_image_files(folder: Path, service_name: str, service_version: str, env: Mapping[str, Any]) -> None:
    """Write the Dockerfile and its scripts into the bundle's ``folder``; ``env`` is that of the manifest."""
    scripts = Path(__file__).parent / "scripts"
    for name in (layout.INIT_SCRIPT, layout.ENTRYPOINT):
        (folder / name).write_bytes((scripts / name).read_bytes())
        (folder / name).chmod(0o755)
    carried = (folder / layout.BUNDLED).is_dir()
    _write_server_requirements(folder, str(env["bentobatch"]), carried=carried)
    text = dockerfile(
        f"{check_service_name(service_name)}:{check_version(service_version)}",
        env,
        has_setup=(folder / layout.SETUP_SCRIPT).exists(),
        carries_wheels=carried,
    )
    (folder / layout.DOCKERFILE).write_text(text, "utf-8")


def dockerfile(tag: str, env: Mapping[str, Any], *, has_setup: bool, carries_wheels: bool) -> str:
    """The text of the Dockerfile for the bundle ``tag`` with the manifest's ``env``."""
    needs_conda = asks_for_conda(env.get("conda_env"))
    name, _, version = tag.partition(":")
    copied = [
        layout.INIT_SCRIPT,
        layout.PYTHON_VERSION,
        layout.REQUIREMENTS,
        layout.SERVER_REQUIREMENTS,
        layout.CONSTRAINTS,
    ]
    copied += [layout.CONDA_ENVIRONMENT] if needs_conda else []
    copied += [layout.SETUP_SCRIPT] if has_setup else []
    files = ", ".join(f'"{path}"' for path in [*copied, f"{BUNDLE}/"])
    wheels = f'COPY ["{layout.BUNDLED}", "{BUNDLE}/{layout.BUNDLED}"]\n' if carries_wheels else ""
    setup = f'RUN ["sh", "{layout.INIT_SCRIPT}", "setup"]\n' if has_setup else ""
    return f"""\
# The image of the bundle {tag}. `bentobatch containerize` builds it, and so does `docker build` of this folder.
FROM {base_image(env)}

ARG EXTRA_PIP_INSTALL_ARGS=""
ARG CONSTRAINTS="{"" if needs_conda else layout.CONSTRAINTS}"
ARG UID={USER}
ARG GID={USER}
LABEL org.opencontainers.image.title="{name}" org.opencontainers.image.version="{version}"

ENV BENTOBATCH_ENVIRONMENT="/opt/bentobatch" BENTOBATCH_HOME="/tmp/bentobatch" HOME="/tmp" PYTHONUNBUFFERED="1"
ENV PATH="/opt/bentobatch/bin:$PATH"
USER root
WORKDIR {BUNDLE}

# What rarely changes comes first, so that another model does not install everything again.
COPY [{files}]
{wheels}{setup}RUN ["sh", "{layout.INIT_SCRIPT}", "{"conda" if needs_conda else "python"}"]
RUN ["sh", "{layout.INIT_SCRIPT}", "packages", "libraries"]
RUN UID_OF_BENTO="$UID" GID_OF_BENTO="$GID" sh {layout.INIT_SCRIPT} user
COPY --chown=${{UID}}:${{GID}} [".", "{BUNDLE}/"]

USER ${{UID}}:${{GID}}
EXPOSE {PORT}
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["sh", "{BUNDLE}/{layout.ENTRYPOINT}", "healthcheck"]
ENTRYPOINT ["sh", "{BUNDLE}/{layout.ENTRYPOINT}"]
CMD ["serve-gunicorn"]
"""


def base_image(env: Mapping[str, Any]) -> str:
    """``docker_base_image`` where the bundle has one, else one with its Python, or with conda where it asks for that."""
    given = env.get("docker_base_image")
    if given is not None:
        if is_image(given):
            return str(given)
        _log.warning("docker_base_image %.80r is no image's name: the Dockerfile takes the usual one instead", given)
    if asks_for_conda(env.get("conda_env")):
        return CONDA_IMAGE
    found = _PYTHON.match(str(env.get("python_version")))
    return f"python:{found[0] if found else '3.11'}-slim"


def asks_for_conda(conda_env: Any) -> bool:
    """Whether environment.yml lists more than the interpreter, which an image has."""
    dependencies = conda_env.get("dependencies") if isinstance(conda_env, dict) else None
    if not isinstance(dependencies, list):
        return False
    return any(not isinstance(one, str) or not _INTERPRETER.fullmatch(one) for one in dependencies)


def _write_server_requirements(folder: Path, own: str, *, carried: bool) -> None:
    """requirements.txt and what bentobatch's server needs, for pip to solve in one go."""
    name, _, version = own.partition("==")
    lines = [f"-r {layout.REQUIREMENTS}", *([f"--find-links {layout.BUNDLED}"] if carried else [])]
    lines.append(f"{name}[server]=={version}")
    (folder / layout.SERVER_REQUIREMENTS).write_text("".join(f"{line}\n" for line in lines), "utf-8")
