"""When a run is good."""

import pytest

from chaos.fleet import TOO_SLOWLY
from chaos.report import incidents, is_good
from chaos.run import Outcome, Plan, Survived
from chaos.schedule import Fault
from chaos.verdict import Verdict
from streamrec.replay.audit import Audit

RIGHT, KEPT = Audit(*[0] * 8), Verdict(*[0] * 8)
PLAN = Plan(1, 1, None, ("flood",), "mixed", 30, 300, 180, ("chaos.worker", "none"))
LOSSES = ("gaps", "unkept", "late_without_rule", "committed_ahead", "stale", "out_of_order")
GOOD = Outcome(PLAN, [Survived(Fault(1, "flood", 0, 1), 0, 0, 9.5)], RIGHT, KEPT, [40], {}, {}, 60, 3)


def test_nothing_lost_and_nothing_wrong_is_good() -> None:
    told = RIGHT._replace(events_in=9, recommendations=9, superseded=1, duplicates=2, dead_letters=3)
    repeats = KEPT._replace(repeats_of_another_model=1, aborted=9)
    assert is_good(GOOD._replace(audit=told, verdict=repeats, incidents={"ended by themselves": 1}))


@pytest.mark.parametrize(
    "bad",
    [
        *(GOOD._replace(audit=RIGHT._replace(**{name: 1})) for name in ("events_lost", "outputs_wrong", "dead_letters_missing")),
        *(GOOD._replace(verdict=KEPT._replace(**{name: 1})) for name in LOSSES),
        GOOD._replace(faults=[]),
        GOOD._replace(faults=[GOOD.faults[0]._replace(recovered=None)]),
        GOOD._replace(incidents={TOO_SLOWLY: 1}),
    ],
)
def test_each_of_these_is_not(bad: Outcome) -> None:
    assert not is_good(bad)


def test_incidents_are_told() -> None:
    assert incidents(GOOD) == ["nothing"]
    assert incidents(GOOD._replace(incidents={TOO_SLOWLY: 2})) == ["stopped too slowly 2 times"]
