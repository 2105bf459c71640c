"""The bundles that a run swaps to are whole, and are what they say."""

from pathlib import Path

import pytest

from chaos.bundles import FAILS_BEYOND, failing_model, other_scorer
from streamrec.build import DEMO_BUNDLE
from streamrec.core.errors import GeneratorFailed
from streamrec.serving.bundle import load_bundle


def test_another_scorer_is_another_version_that_ranks_otherwise(tmp_path: Path) -> None:
    first, second = load_bundle(DEMO_BUNDLE), load_bundle(other_scorer(DEMO_BUNDLE, tmp_path / "second"))
    assert first.version != second.version
    history = list(first.vocabulary.item_ids[:3])
    proposed = first.generator().propose([history], 20)[0].candidates
    assert first.scorer().judge(history, proposed) != second.scorer().judge(history, proposed)


def test_the_failing_model_answers_short_histories_and_fails_for_long_ones(tmp_path: Path) -> None:
    bundle = load_bundle(failing_model(DEMO_BUNDLE, tmp_path / "failing"))
    items = list(bundle.vocabulary.item_ids)
    assert bundle.version != load_bundle(DEMO_BUNDLE).version
    assert bundle.generator().propose([items[:10]], 5)[0].candidates
    with pytest.raises(GeneratorFailed):
        bundle.generator().propose([items[: FAILS_BEYOND + 1]], 5)
