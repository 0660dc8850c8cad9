"""The sums of docs/scaling.md follow from what was measured, by the formulas in cluster_sums."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.cluster_sums import needs, read_figures, table

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_the_page_has_the_sums_of_the_figures_that_were_measured() -> None:
    figures = read_figures((DOCS / "scaling.json").read_text())
    assert table(figures) in (DOCS / "scaling.md").read_text()


def test_only_directory_and_marks_grow_faster_than_the_subscribers() -> None:
    figures = read_figures((DOCS / "scaling.json").read_text())
    one, ten = needs(figures, 1_000_000), needs(figures, 10_000_000)
    assert round(ten.worker_cores / one.worker_cores, 6) == 10
    assert round(ten.wal_octets_per_second / one.wal_octets_per_second, 6) == 10
    growth = ten.partitions / one.partitions
    assert growth > 1
    assert ten.marks_per_second == one.marks_per_second * growth**2
    assert round(ten.directory_rows / one.directory_rows, 6) == 10 * growth
