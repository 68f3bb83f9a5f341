"""Audit: what an annotation gives away, measured by attacks on the partner's own teacher."""

from fluid.partner.audit.results import AttackResult, AuditReport, Thresholds
from fluid.partner.audit.run import CHECKS, AuditOptions, AuditTarget, attack, audit

__all__ = [
    "CHECKS",
    "AttackResult",
    "AuditOptions",
    "AuditReport",
    "AuditTarget",
    "Thresholds",
    "attack",
    "audit",
]
