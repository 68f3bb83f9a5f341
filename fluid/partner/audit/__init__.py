"""Audit: what an annotation gives away, measured by attacks on the partner's own teacher."""

from fluid.partner.audit.exports import TeacherRecipe
from fluid.partner.audit.results import AttackResult, AuditReport, Thresholds
from fluid.partner.audit.run import CHECKS, attack, audit
from fluid.partner.audit.target import AuditOptions, AuditTarget

__all__ = [
    "CHECKS",
    "AttackResult",
    "AuditOptions",
    "AuditReport",
    "AuditTarget",
    "TeacherRecipe",
    "Thresholds",
    "attack",
    "audit",
]
