"""How an audit looks."""

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from datk.cli.console import output

if TYPE_CHECKING:  # imports sklearn
    from datk.data.audit import Report

STYLES = {"high": "bold red", "medium": "yellow", "low": "cyan", "ok": "green"}


def show_audit(title: str, report: "Report") -> None:
    """A table of the findings, the worst first, and one line."""
    console = output()
    console.print(Text(f"\n{title}", style="bold"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("check", max_width=22)
    table.add_column("domain")
    table.add_column("verdict")
    table.add_column("what was found", overflow="fold")
    order = list(STYLES)
    for finding in sorted(report.findings, key=lambda finding: order.index(finding.severity)):
        verdict = Text(finding.severity, style=STYLES[finding.severity])
        table.add_row(finding.check, finding.domain, verdict, finding.message)
    console.print(table)
    console.print(
        f"{report.count('high')} high, {report.count('medium')} medium, {report.count('low')} low; "
        "target labels were not looked at"
    )
