"""Traffic classes: accounting says how much, flows say of what."""

from __future__ import annotations

from fractions import Fraction

import polars as pl

from rating.curves import Payg
from rating.periods import Calendar
from rating.rows import UsageCharge, UsageCounter, UsageDay
from tests.rating.rate_scene import GB, Scene, day_sums, meter, plan, started, usage

WEIGHTED = meter(Payg(Fraction(1), GB), class_weights={"cdn": (0, 1), "local": (1, 2)})


def test_accounting_octets_are_split_by_flows_and_conserved() -> None:
    scene = Scene().feed(started(plan()), usage("01-05 10:01", 100), through="01-05 10:05")
    assert scene.octets("unclassified") == 100
    scene.feed(
        usage("01-05 10:02", 10, source="flows", traffic_class="cdn"),
        usage("01-05 10:03", 20, source="flows", traffic_class="local"),
    )
    assert (scene.octets("cdn"), scene.octets("local")) == (33, 67)
    assert scene.octets("unclassified") == 0
    scene.feed(usage("01-05 10:14", 50))
    assert (scene.octets("cdn"), scene.octets("local")) == (50, 100)
    scene.feed(usage("01-05 10:15", 7))  # the next quarter of an hour has no flows
    assert scene.octets("unclassified") == 7


def test_a_class_blind_meter_does_not_wait() -> None:
    scene = Scene().feed(started(plan(meter(Payg(Fraction(1), GB)))), through="01-05 10:00")
    scene.feed(usage("01-05 10:00", GB))
    assert scene.of(UsageCounter)[0].quantity == GB


def test_a_weighted_meter_waits_for_flows_then_counts_unclassified_then_corrects() -> None:
    scene = Scene().feed(started(plan(WEIGHTED)), through="01-05 10:00")
    scene.feed(usage("01-05 10:00", 100, received="01-05 10:01"), through="01-05 10:02")
    assert scene.of(UsageCounter)[0].quantity == 0
    scene.feed(through="01-05 10:03")
    assert scene.of(UsageCounter)[0].quantity == 100
    assert scene.counters["rate_cells_released"] == 1
    scene.feed(usage("01-05 10:05", 9, source="flows", traffic_class="local"))
    assert scene.of(UsageCounter)[0].quantity == 50
    assert scene.rated["octets_down"].sum() == 100


def test_flows_that_came_first_leave_nothing_to_wait_for() -> None:
    scene = Scene().feed(started(plan(WEIGHTED)), through="01-05 10:00")
    scene.feed(usage("01-05 10:00", 1, source="flows", traffic_class="cdn"))
    scene.feed(usage("01-05 10:00", 100))
    assert scene.of(UsageCounter)[0].quantity == 0
    assert scene.octets("cdn") == 100


def test_halves_add_up_before_they_are_floored() -> None:
    scene = Scene().feed(started(plan(WEIGHTED)), through="01-05 10:00")
    for minute in (0, 15, 30, 45):  # four cells of one octet at half weight are two octets
        scene.feed(
            usage(f"01-05 10:{minute:02d}", 1, source="flows", traffic_class="local"),
            usage(f"01-05 10:{minute:02d}", 1),
        )
    assert scene.of(UsageCounter)[0].quantity == 2


def test_flows_after_the_closing_are_a_late_correction() -> None:
    scene = Scene().feed(started(plan(WEIGHTED)), through="01-01")
    scene.feed(usage("01-31 23:50", 4 * GB), through="02-01 02:00")
    late = usage("01-31 23:50", 5, source="flows", traffic_class="cdn", received="02-01 02:10")
    scene.feed(late, through="02-01 03:00")
    assert [(line.revision, line.amount_minor) for line in scene.of(UsageCharge)] == [
        (0, 400),
        (1, 0),
    ]
    assert set(day_sums(scene.of(UsageDay)).values()) == {0}
    assert scene.octets("cdn") == 4 * GB


def test_late_flows_taken_before_the_accounting_they_split_are_still_late() -> None:
    scene = Scene().feed(started(plan(WEIGHTED)), through="02-01 01:00")
    late = usage("01-31 23:50", 5, source="flows", traffic_class="cdn", received="02-01 02:10")
    scene.feed(late).feed(usage("01-31 23:50", 4 * GB), through="02-01 03:00")
    assert [(line.revision, line.amount_minor) for line in scene.of(UsageCharge)] == [
        (0, 400),
        (1, 0),
    ]


def test_a_plan_measured_by_flows_charges_flows_and_no_accounting() -> None:
    scene = Scene().feed(started(plan(WEIGHTED, measured_by="flows")), through="01-05 10:00")
    scene.feed(
        usage("01-05 10:00", 100),
        usage("01-05 10:00", 40, source="flows", traffic_class="local"),
        usage("01-05 10:00", 7, source="flows", traffic_class="cdn"),
        usage("01-05 10:00", 5, source="flows", traffic_class="other"),
    )
    assert scene.of(UsageCounter)[0].quantity == 25
    volume = scene.rated.filter(pl.col("meter_id") == "volume")
    assert set(volume["source"]) == {"flows"}
    assert volume["octets_down"].sum() == 52


def test_the_flows_of_an_accounting_plan_carry_no_volume_of_their_own() -> None:
    scene = Scene().feed(started(plan()), through="01-05 10:00")
    scene.feed(usage("01-05 10:00", 40, source="flows", traffic_class="local"))
    assert scene.rated["octets_down"].sum() == 0


def test_cells_are_forgotten_after_their_retention() -> None:
    scene = Scene().feed(started(plan(WEIGHTED)), through="01-01")
    for day in range(5, 10):
        scene.feed(usage(f"01-0{day} 10:00", GB), through=f"01-0{day} 11:00")
    scene.feed(through="01-10 02:00")
    assert len(scene.state.collections["cells"]) == 1
    assert scene.counters["rate_cells_dropped"] == 4


def test_a_cell_that_waits_is_not_forgotten_when_another_day_is_posted() -> None:
    """In Kathmandu days end at 18:15 UTC, between the hours at which late usage is posted."""
    calendar = Calendar("Asia/Kathmandu")
    scene = Scene().feed(started(plan(WEIGHTED), calendar=calendar), through="01-18")
    scene.feed(usage("01-18 10:00", GB), through="01-18 20:14")
    very_late = usage("01-05 10:00", GB, received="01-18 20:14:30")
    scene.feed(very_late, through="01-18 20:14:40")
    scene.feed(through="01-18 20:15:30").feed(through="01-18 20:20")
    assert scene.of(UsageCounter)[0].quantity == 2 * GB
