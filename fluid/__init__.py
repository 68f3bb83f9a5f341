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
from typing import Any

__version__ = "0.1.0"

# The Python API, and where each name lives: importing `fluid` loads none of it. Their types are in
# __init__.pyi, so that no room comes to import all others through here.
_HOMES = {
    "Federation": "fluid.exchange.federation",
    "FluidError": "fluid.base.errors",
    "Model": "fluid.estimator",
    "PublicSet": "fluid.exchange.public_set",
    "EarlierRounds": "fluid.central.distill",
    "RoundFiles": "fluid.partner.hybrid.train",
    "Run": "fluid.base.run",
    "annotate": "fluid.partner.annotate",
    "approve": "fluid.partner.release.approve",
    "distill": "fluid.central.distill",
    "evaluate": "fluid.report.evaluate",
    "load": "fluid.estimator",
    "prepare_public": "fluid.public.prepare",
    "simulate": "fluid.simulation.run",
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
