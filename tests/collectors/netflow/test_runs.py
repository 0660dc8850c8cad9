"""Runs of datagrams of one session in one hour."""

from __future__ import annotations

import numpy as np

from collectors.netflow.runs import HOUR_MS, Runs


def runs_of(rows: list[tuple[int, int]]) -> Runs:
    """Return the runs of datagrams given as session and hour; the last one is not chosen."""
    session, hour = np.array(rows, np.int64).reshape(-1, 2).T
    chosen = np.arange(len(rows)) < len(rows) - 1
    return Runs.of(session, hour * HOUR_MS + 5, chosen)


def told(runs: Runs) -> list[tuple[int, int, list[int]]]:
    return [
        (session, hour, runs.datagrams(run).tolist())
        for run, (session, hour) in enumerate(zip(runs.session, runs.hour, strict=True))
    ]


def test_a_run_ends_where_session_or_hour_changes() -> None:
    runs = runs_of([(1, 7), (0, 7), (1, 7), (1, 8), (0, 7), (1, 7), (9, 9)])
    assert told(runs) == [(0, 7, [1, 4]), (1, 7, [0, 2]), (1, 8, [3]), (1, 7, [5])]
    assert runs.reduce(np.maximum, runs.place) == [4, 2, 3, 5]


def test_a_session_is_once_in_each_wave_its_runs_in_order() -> None:
    runs = runs_of([(1, 7), (0, 7), (2, 7), (1, 8), (1, 9), (2, 8), (9, 9)])
    waves = [told(wave) for wave in runs.waves()]
    assert waves == [
        [(0, 7, [1]), (1, 7, [0]), (2, 7, [2])],
        [(1, 8, [3]), (2, 8, [5])],
        [(1, 9, [4])],
    ]


def test_without_datagrams_there_is_no_run() -> None:
    runs = runs_of([(1, 7)])
    assert len(runs) == 0
    assert runs.reduce(np.maximum, runs.place) == []
    assert [told(wave) for wave in runs.waves()] == [[]]
