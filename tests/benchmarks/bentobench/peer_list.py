"""This module lists the other engines, and makes an environment of its own for each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bentobench.runners import Runner
from bentobench.workloads import LOOPS, Workload, scratch

PEERS = LOOPS.parent / "peers"
SAME = ("scikit-learn", "lightgbm", "joblib", "numpy", "pandas", "pyarrow")
"""Libraries that a peer gets in our versions, so that the models load and the comparison is of engines."""
CLUSTER = ("W1", "W2", "W3", "SMALL")
"""Where engines for clusters run: not on the largest input, on which the others take seconds and these minutes."""
NEEDED = SAME[:3]
"""Those of them that it must have in our versions; the others as the peer allows."""


@dataclass(frozen=True)
class Peer:
    """An engine. ``script`` takes INPUT MODEL OUTPUT; ``words`` go before them. ``prepare``: the script has a step
    ``--prepare MODEL FOLDER`` that is not timed. ``only`` names the workloads that it can do."""

    name: str
    package: str
    script: str
    words: tuple[str, ...] = ()
    environment: str = ""
    more: tuple[str, ...] = ()
    one_file: bool = False
    ordered: bool = True
    prepare: bool = False
    only: tuple[str, ...] = ("W1", "W1L", "W2", "W3", "SMALL")

    @property
    def folder(self) -> str:
        """The name of its environment; two ways to use one engine share it."""
        return self.environment or self.package


class NotInstalled(Exception):
    """A peer's environment could not be made; the text is the reason."""


PEER_LIST = (
    Peer("Polars", "polars", "polars_peer.py", one_file=True),
    Peer("DuckDB", "duckdb", "duckdb_peer.py", one_file=True),
    Peer("Dask", "dask", "dask_peer.py", more=("dask[dataframe]",)),
    Peer("Daft", "daft", "daft_peer.py", ordered=False),
    Peer("Ray Data", "ray", "ray_peer.py", more=("ray[data]",), ordered=False, only=CLUSTER),
    Peer("Spark", "pyspark", "spark_peer.py", ordered=False, only=CLUSTER),
    Peer(
        "MLflow",
        "mlflow",
        "mlflow_peer.py",
        ("--spark-udf",),
        more=("mlflow>=3", "pyspark"),
        ordered=False,
        prepare=True,
        only=CLUSTER,
    ),
    Peer(
        "MLflow models predict",
        "mlflow",
        "mlflow_peer.py",
        ("--command",),
        more=("mlflow>=3", "pyspark"),
        one_file=True,
        prepare=True,
        only=("SMALL",),
    ),
)


def environment(root: Path, peer: Peer, tell: Callable[[str], None] = print) -> Path:
    """The interpreter of a peer's environment, made if it is not there.

    Raises:
        NotInstalled: it cannot be; says why.
    """
    home = root / "envs" / peer.folder
    python = home / "bin" / "python"
    ready = home / "ready"
    if ready.exists():
        return python
    tell(f"installing {peer.name} into {home} ...")
    uv = shutil.which("uv")
    if not python.exists():
        _do(
            [uv, "venv", "--quiet", "--python", sys.executable, str(home)]
            if uv
            else [sys.executable, "-m", "venv", str(home)]
        )
    install = (
        [uv, "pip", "install", "--quiet", "--python", str(python)] if uv else [str(python), "-m", "pip", "install"]
    )
    wanted = [peer.package, *peer.more, "setuptools"]
    try:
        _do([*install, *wanted, *(f"{name}=={version(name)}" for name in SAME)])
    except NotInstalled:  # some engines are behind the newest pandas or pyarrow
        loose = [name for name in SAME if name not in NEEDED]
        _do([*install, *wanted, *(f"{name}=={version(name)}" for name in NEEDED), *loose])
    ready.write_text(peer.package)
    return python


def versions_in(python: Path, names: tuple[str, ...]) -> dict[str, str]:
    """The versions of some distributions in an environment.

    Raises:
        NotInstalled: one is not there.
    """
    code = "import sys, importlib.metadata as m\nfor n in sys.argv[1:]: print(n, m.version(n))"
    lines = _do([str(python), "-c", code, *names]).splitlines()
    return dict(line.split() for line in lines)


def peer_runner(work: Workload, root: Path, peer: Peer, python: Path) -> Runner:
    """How a peer does a workload; its model is prepared first where it needs a form of its own.

    Raises:
        NotInstalled: the preparation fails.
    """
    stem = f"{work.name}-peer-{peer.name.replace(' ', '-')}"
    output = scratch(root) / (f"{stem}.parquet" if peer.one_file else stem)
    script, model = str(PEERS / peer.script), str(work.model)
    env = {"PYTHONPATH": str(LOOPS), "PYSPARK_PYTHON": str(python), "PYSPARK_DRIVER_PYTHON": str(python)}
    if peer.prepare:
        made = root / "models" / f"{work.model.parent.name}-{peer.folder}"
        if not made.exists():
            _do([str(python), script, "--prepare", model, str(made)], env)
        model = str(made)
    command = (str(python), script, *peer.words, str(work.source), model, str(output))
    return Runner(peer.name, "peer", command, output, peer.one_file, env=env, ordered=peer.ordered, timeout=900)


def _do(command: list[str | None], env: dict[str, str] | None = None) -> str:
    words = [word for word in command if word is not None]
    done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **(env or {})})
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise NotInstalled(f"{Path(words[0]).name} {words[1]} …: {lines[-1][:300]}")
    return done.stdout
