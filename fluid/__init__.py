"""fluid: federated knowledge distillation for drug discovery.

Partners train private teachers, label a shared public compound set with them and export only
those labels; a coordinator pools the labels and distills a student with an applicability domain.
The method is FLuID (Hanser et al. 2025, Nature Machine Intelligence,
doi 10.1038/s42256-025-00991-2).

The folder tree shows who may see what: ``partner`` runs behind a partner's wall, ``central`` at
the coordinator, and only what ``exchange`` defines travels between them.

>>> import fluid
>>> student = fluid.load("round1/student")
>>> predictions = student.predict(["CCO", "c1ccccc1O"])
>>> len(predictions)
2
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluid.base.errors import FluidError as FluidError
    from fluid.base.run import Run as Run
    from fluid.central.distill import distill as distill
    from fluid.estimator import Model as Model
    from fluid.estimator import load as load
    from fluid.exchange.federation import Federation as Federation
    from fluid.exchange.public_set import PublicSet as PublicSet
    from fluid.partner.annotate import annotate as annotate
    from fluid.partner.hybrid.train import train_hybrid as train_hybrid
    from fluid.partner.release.approve import approve as approve
    from fluid.partner.teacher.train import train_teacher as train_teacher
    from fluid.public.prepare import prepare_public as prepare_public
    from fluid.report.evaluate import evaluate as evaluate
    from fluid.simulate.run import simulate as simulate

__version__ = "0.1.0"

# The Python API, and where each name lives: importing `fluid` loads none of it.
_HOMES = {
    "Federation": "fluid.exchange.federation",
    "FluidError": "fluid.base.errors",
    "Model": "fluid.estimator",
    "PublicSet": "fluid.exchange.public_set",
    "Run": "fluid.base.run",
    "annotate": "fluid.partner.annotate",
    "approve": "fluid.partner.release.approve",
    "distill": "fluid.central.distill",
    "evaluate": "fluid.report.evaluate",
    "load": "fluid.estimator",
    "prepare_public": "fluid.public.prepare",
    "simulate": "fluid.simulate.run",
    "train_hybrid": "fluid.partner.hybrid.train",
    "train_teacher": "fluid.partner.teacher.train",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fluid' has no attribute '{name}'")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
