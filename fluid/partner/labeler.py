"""The interface of whatever labels the public set for a partner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fluid.chem.compounds import Compounds
from fluid.partner.dp.budget import Plan
from fluid.soft_labels.teacher_labels import TeacherLabels


class Labeler(Protocol):
    """Labels the public set chunk by chunk; all that it returns has passed the guard.

    `fluid.partner.annotate` chooses one of three: a teacher's own labels
    (`fluid.partner.teacher.labeler.TeacherLabeler`), a student's predictions plus what the teacher
    learned from the student's residuals (`fluid.partner.teacher.residuals.ResidualLabeler`), or
    noisy votes of sub-teachers (`fluid.partner.dp.pate_labeler.PateLabeler`).
    """

    def within(self, plan: Plan | None) -> Labeler:
        """The labeler for one release.

        Parameters
        ----------
        plan
            What the release may ask; None without a noise mechanism.
        """
        ...

    def label(self, compounds: Compounds, jobs: int = 1) -> dict[str, TeacherLabels]:
        """Label the next compounds of the public set.

        Parameters
        ----------
        compounds
            A chunk of n compounds.
        jobs
            Threads; the labels do not depend on it.

        Returns
        -------
        dict of str to TeacherLabels
            One entry for each task of the federation. A task that the teacher cannot predict is
            NaN throughout.
        """
        ...

    def recall(self, labels: Mapping[str, TeacherLabels]) -> None:
        """Take note of a chunk that an interrupted run has labelled; it comes in place of `label`.

        Parameters
        ----------
        labels
            What `label` returned for the chunk.
        """
        ...
