"""Every metric that the code declares, by the name under which Prometheus scrapes it."""

from __future__ import annotations

import functools
import threading

from prometheus_client.parser import text_string_to_metric_families

import api.metrics
import billing.metrics
import collectors.metrics
import infra.metrics
import streams.metrics
import streams.stage_metrics
import warehouse.metrics
from infra.metrics_endpoint import MetricsEndpoint
from rating.measures import Measures

SOURCES = (
    api.metrics.METRICS,
    billing.metrics.COUNTERS,
    collectors.metrics.METRICS,
    infra.metrics.METRICS,
    streams.stage_metrics.STAGE_COUNTERS,
    warehouse.metrics.METRICS,
)


def declared_metrics() -> dict[str, frozenset[str]]:
    """Return sample name -> label names, as the metrics endpoint renders the declarations."""
    endpoint = MetricsEndpoint("test")
    for source in SOURCES:
        counts = dict.fromkeys(source, 1.0)
        endpoint.add_source(source, functools.partial(dict, counts))
    gauges = {
        (name, tuple("x" for _ in gauge.labels)): 1.0
        for name, gauge in streams.metrics.GAUGES.items()
    }
    endpoint.add_gauges(streams.metrics.GAUGES, lambda: gauges)
    measures = Measures(streams.metrics.HISTOGRAMS, threading.Lock())
    for name, histogram in measures.declared.items():
        measures.observe(name, 1.0, *("x" for _ in histogram.labels))
    endpoint.add_measures(measures)
    return {
        sample.name: frozenset(sample.labels)
        for family in text_string_to_metric_families(endpoint.metrics_text().decode())
        for sample in family.samples
    }
