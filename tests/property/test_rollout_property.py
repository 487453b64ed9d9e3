"""Several faults in one change of release, in every combination that hypothesis thinks of."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_rollout_core import BACK_STEPS, FAULTS, STEPS, Model

SAVES = [f"save {step}" for step in (*STEPS[1:-1], *BACK_STEPS[:-1])]
faults = st.lists(
    st.tuples(st.sampled_from([*STEPS, *BACK_STEPS, *SAVES]), st.sampled_from(FAULTS)), max_size=4, unique=True
)


@settings(max_examples=300, deadline=None)
@given(faults, st.booleans())
def test_it_ends_in_old_or_new_and_never_in_none_without_an_alarm(struck, is_bad):
    """Whatever strikes, and however often the agent dies."""
    model = Model(*([("gate", "unhealthy")] if is_bad else []), *struck)
    core = model.change()
    critical = [one for one in model.alarms if one.severity == "critical"]
    assert model.current in ("1.0", "1.1")
    assert model.running in ("1.0", "1.1") or critical
    assert model.running == model.current or critical
    assert core.outcome is not None or model.book.open is None
    if core.outcome is not None and core.outcome.ok:
        assert (model.running, model.current) == ("1.0", "1.0")
