"""What an audit finds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from datk.interfaces import DomainPair

Severity = Literal["high", "medium", "low", "ok"]
SEVERITIES: tuple[Severity, ...] = ("ok", "low", "medium", "high")
"""The mildest first."""

SHOWN = 5
"""Rows that a message names."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    check: str
    """Name of the check, for instance `duplicates`."""
    domain: str
    """source, target or both."""
    severity: Severity
    """high: scores would be wrong; medium: likely to mislead; low: good to know; ok: nothing found."""
    message: str
    """What is wrong, how often, where first, and what to do."""
    rows: tuple[int, ...] = ()
    """Row numbers in the domain; of pairs across domains, those of the source."""


@dataclass(frozen=True)
class Report:
    """All findings of an audit."""

    findings: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        """How many findings are of a severity."""
        return sum(finding.severity == severity for finding in self.findings)


def some(items: Iterable[object]) -> str:
    """The first few of a list, for a message."""
    listed = [str(item) for item in items]
    return ", ".join(listed[:SHOWN]) + (", ..." if len(listed) > SHOWN else "")


def option(pair: DomainPair, name: str, advice: str) -> str:
    """Advice on an option, of a pair that has it."""
    return advice.format(f"pair.{name}") if name in type(pair).Config.model_fields else ""


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun: 1 row, 3 rows."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
