"""The only place that chooses implementations: from settings to everything that makes recommendations."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec

from streamrec.core.catalogue import Catalogue
from streamrec.core.generate import Ladder
from streamrec.core.pipeline import Pipeline
from streamrec.core.session import SessionRules
from streamrec.core.types import Versions
from streamrec.serving.bundle import load_bundle
from streamrec.serving.runtime import runtime_name
from streamrec.settings import Settings

DEMO_BUNDLE = Path(__file__).parent / "demo" / "bundle"


class Recommender(NamedTuple):
    """The pipeline, and the state and rules that a shell drives it with."""

    pipeline: Pipeline
    catalogue: Catalogue
    session_rules: SessionRules
    versions: Versions  # without the catalogue's, which each session names


def build_recommender(settings: Settings) -> Recommender:
    """Loads the bundle and puts the pipeline together.

    Raises:
        UserError: the bundle is missing, incomplete or damaged.
    """
    bundle = load_bundle(settings.bundle or DEMO_BUNDLE)
    versions = Versions(model=bundle.version, catalogue=0, rules=rules_version(settings), runtime=runtime_name())
    generator = Ladder(bundle.rungs(settings.inference_threads, settings.slate_rules))
    pipeline = Pipeline(generator, bundle.scorer(), bundle.transitions, settings.slate_rules, versions)
    return Recommender(pipeline, Catalogue(bundle.items), settings.session_rules, versions)


def rules_version(settings: Settings) -> str:
    """A hash of every rule that decides what a recommendation holds."""
    rules = msgspec.json.encode([settings.session_rules, settings.slate_rules])
    return hashlib.sha256(rules).hexdigest()[:12]
