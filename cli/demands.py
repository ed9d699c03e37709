"""What a project demands of its champions, in the terms of the registry, which knows no project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from features.sections import OPTIONAL
from model_registry.budget import Budget
from model_registry.gates import AuditRule
from model_registry.promotion import Demands

if TYPE_CHECKING:
    from features.project import Project


def demands_of(project: Project) -> Demands:
    section = project.promotion
    return Demands(audit_rule(project), Budget(section.row_milliseconds, section.table_milliseconds, section.megabytes))


def audit_rule(project: Project) -> AuditRule:
    if project.promotion.audit == OPTIONAL:
        return AuditRule.OPTIONAL
    customers = project.tables.customers
    return AuditRule.REQUIRED if customers and customers.sensitive else AuditRule.NOTHING_TO_COMPARE


def allows_unaudited(project: Project) -> bool:
    """Whether servers may follow an alias to a version that nobody audited."""
    return audit_rule(project) is not AuditRule.REQUIRED
