"""A coordinator that still loads the group when it is asked what was committed."""

import pytest

from tests.integration.stand import Stand, wait_until

DONE, MORE = range(50), range(50, 60)


@pytest.mark.parametrize("mended", [True, False])
def test_what_is_committed_is_asked_for_until_it_is_known(stand: Stand, mended: bool) -> None:
    first = stand.start()
    stand.send(DONE)
    stand.await_outputs(DONE)
    assert first.terminate() == 0
    assert stand.committed() == stand.ends()
    stand.start(mended=mended, loading=3)
    stand.send(MORE)
    stand.await_outputs(MORE)
    if mended:
        assert len(stand.outputs()) == len(DONE) + len(MORE)
    else:
        wait_until(lambda: len(stand.outputs()) == 2 * len(DONE) + len(MORE), "Faust as released to do everything once more")
