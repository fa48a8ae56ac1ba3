"""Law 3 as a table: which silence is sleep."""

import pytest

from wakeline.core.model import Presence
from wakeline.core.presence import Answer, Phase, judge


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("presence", list(Presence))
def test_law_3_only_an_on_demand_machine_that_does_not_answer_at_all_is_asleep(phase, presence):
    asleep = phase is Phase.TCP and presence is Presence.ON_DEMAND
    assert judge(phase, presence) is (Answer.ASLEEP if asleep else Answer.REFUSED)
