"""This module keeps a plan to one kind of device: a GPU's values may differ from the CPU's in their last digits.

What planning found on a GPU is part of the plan id. A plan whose models lay on the CPU has the id that it has always had,
and its workers load them onto the CPU, whatever else their machines have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bentobatch.devices import kind_of
from bentobatch.engine.job import BatchJob
from bentobatch.errors import UsageError
from bentobatch.service.core import ServiceCore


def device_kinds(service: ServiceCore) -> dict[str, str]:
    """ "cpu" or "cuda" for each artifact whose model may lie on either, by its name."""
    loaded = ((artifact.name, artifact.loaded_on) for artifact in service.artifacts.values())
    return {name: kind_of(device) for name, device in loaded if device is not None}


def on_gpu(kinds: Mapping[str, str]) -> dict[str, str]:
    """Those that are not on the CPU."""
    return {name: kind for name, kind in kinds.items() if kind != "cpu"}


def with_settled_device(job: BatchJob, kinds: Mapping[str, str]) -> BatchJob:
    """The job for the workers of its plan, which asks for the kind of device that the planner's models lie on."""
    found = set(kinds.values())
    if len(found) != 1 or (job.device is not None and kind_of(job.device) in found):
        return job
    return replace(job, device=found.pop())


def check_devices(plan_id: str, planned: Mapping[str, str], service: ServiceCore) -> None:
    """Raise UsageError where this process's models lie on other kinds of device than those of the plan's first worker."""
    here = on_gpu(device_kinds(service))
    differing = sorted({*planned.items()} ^ {*here.items()})
    if differing:
        name = differing[0][0]
        raise UsageError(
            f"plan {plan_id} has the model {name!r} on {planned.get(name, 'cpu')}, and this worker on "
            f"{here.get(name, 'cpu')}, whose values may differ in their last digits: let all workers have the same kind of "
            "device, or plan with --device cpu"
        )
