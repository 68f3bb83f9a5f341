"""fluid: federated knowledge distillation for drug discovery.

Partners train private teachers, label a shared public compound set with them and export only
those labels; a coordinator pools the labels and distills a student with an applicability domain.
The method is FLuID (Hanser et al. 2025, Nature Machine Intelligence,
doi 10.1038/s42256-025-00991-2).

The folder tree shows who may see what: ``partner`` runs behind a partner's wall, ``central`` at
the coordinator, and only what ``exchange`` defines travels between them.
"""

__version__ = "0.1.0"
