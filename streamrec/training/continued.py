"""What a training takes over from an earlier bundle: weights, and what was counted in the log before."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from streamrec.core.errors import UserError
from streamrec.evaluation.protocols import Split
from streamrec.evaluation.slates import vocabulary_index
from streamrec.eventlog.dataset import Dataset
from streamrec.serving.bundle import Bundle, Continued, load_bundle
from streamrec.serving.counting import DECAY, RECENT, WINDOW, Pairs, count_pairs
from streamrec.serving.vocabulary import Vocabulary
from streamrec.training.known import EVERY_HASH, Learned, event_hashes, read_learned
from streamrec.training.network import Network

APART = 0.5  # of its length a new item is moved at random: those near the same item would otherwise start as one
NEAR = 3  # steps, within which items say something of a new one
MEAN_DECAY = float(np.mean(DECAY ** np.arange(WINDOW)))


@dataclass(frozen=True, eq=False)
class Base:
    """An earlier bundle, its network's weights, and the events that it has counted."""

    bundle: Bundle
    weights: dict[str, Tensor]
    learned: Learned

    def counted(self, dataset: Dataset) -> NDArray[np.bool_]:
        """Which rows it has counted, or must be taken to have; surely none of an item that it does not know."""
        return self.learned.has(dataset) & (vocabulary_index(dataset, self.bundle.vocabulary) >= 0)[dataset.item_index]

    def places_in(self, vocabulary: Vocabulary) -> NDArray[np.int64]:
        """Where each of its items stands in the larger ``vocabulary``."""
        return np.array([vocabulary.index[item_id] for item_id in self.bundle.vocabulary.item_ids], np.int64)


def read_base(path: Path) -> Base:
    """The bundle in folder ``path``; raises UserError where there is none, or it is damaged."""
    bundle = load_bundle(path)
    weights = load_file(path / "weights.safetensors")
    of_network = {name: tensor for name, tensor in weights.items() if not name.startswith("slate.")}
    return Base(bundle, of_network, read_learned(path, bundle.manifest))


def refuse_learned(base: Base, parts: Split, sha256: str, holdout: str) -> None:
    """Raises UserError if the base has learned what the holdout is to withhold, or was chosen by it."""
    manifest = base.bundle.manifest
    if manifest.holdout == holdout and manifest.data.sha256 == sha256:
        return
    looked_at = parts.known if manifest.refit else parts.known | (parts.occurred_at <= manifest.data.last)
    if looked_at[parts.asked].any():
        raise UserError(
            f"{base.bundle.path}: may have learned what --holdout {holdout} withholds; continue a bundle that ends earlier, "
            "or one that was trained on this data with the same --holdout"
        )


@torch.no_grad()
def take_over(
    network: Network, base: Base, member: int, vocabulary: Vocabulary, users: NDArray[np.int32], items: NDArray[np.int64]
) -> None:
    """The weights of the base's ``member``, made wider.

    A new item starts as the mean of the items that it was near, a little apart, and as rare as the rarest.

    Raises:
        UserError: the base has another kind of network.
    """
    known = torch.from_numpy(base.places_in(vocabulary))
    root = f"members.{member}." if base.bundle.manifest.model.members > 1 else ""
    weights = {name.removeprefix(root): tensor for name, tensor in base.weights.items() if name.startswith(root)}
    wide = network.state_dict()
    widened = ("gpt2.wte.weight", "bias")
    if any(name not in weights or weights[name].shape != of.shape for name, of in wide.items() if name not in widened):
        raise UserError(f"{base.bundle.path}: its network is of an older kind than this version trains; train a bundle anew")
    wide.update({name: weights[name] for name in wide if name not in widened})
    old, old_bias = weights["gpt2.wte.weight"], weights["bias"]
    embeddings = torch.zeros_like(wide["gpt2.wte.weight"])
    embeddings[known] = old
    bias = torch.full_like(wide["bias"], float(old_bias.quantile(0.1)))
    bias[known] = old_bias
    new = np.ones(len(vocabulary), bool)
    new[known.numpy()] = False
    pairs = count_pairs(users, items, len(vocabulary), window=NEAR)
    for one, other in ((pairs.leader, pairs.follower), (pairs.follower, pairs.leader)):
        use = new[one] & ~new[other]
        embeddings.index_add_(
            0, torch.from_numpy(one[use]), embeddings[other[use]] * torch.from_numpy(pairs.weight[use]).float()[:, None]
        )
    apart = torch.nn.functional.normalize(embeddings) + APART * torch.nn.functional.normalize(torch.randn_like(embeddings))
    placed = torch.nn.functional.normalize(apart) * old.norm(dim=1).median()
    embeddings = torch.where(torch.from_numpy(new)[:, None], placed, embeddings)
    wide["gpt2.wte.weight"], wide["bias"] = embeddings, bias
    network.load_state_dict(wide)


def summary(base: Base, parts: Split) -> Continued:
    """How many of the interactions that training may see the base has counted."""
    newer = parts.occurred_at > base.bundle.manifest.data.last
    return Continued(
        newer=int((parts.new & newer).sum()),
        older=int((parts.new & ~newer).sum()),
        known=int((parts.counted & parts.known).sum()),
        known_by_time_until=None if base.learned.until == EVERY_HASH else base.learned.until,
    )


def in_words(base: Path, continued: Continued) -> list[str]:
    """The summary for people; ``base`` is the bundle's folder."""
    known = f"{continued.known} known" + (" or taken as known" if continued.known_by_time_until is not None else "")
    lines = [f"continuing {base}: {continued.newer} events newer than it, {continued.older} older and never counted, {known}"]
    if continued.known_by_time_until is not None:
        until = datetime.fromtimestamp(continued.known_by_time_until / 1000, UTC).isoformat(timespec="seconds")
        lines.append(
            f"{base} does not say which events it has counted: everything up to {until} is taken as known, "
            "a late upload too; to learn that, train a bundle anew"
        )
    return lines


def holds_all(dataset: Dataset, parts: Split, base: Base) -> bool:
    """Whether the data holds everything that the base has counted: counting it anew is exact."""
    known = parts.row[parts.counted & parts.known]
    if base.learned.until != EVERY_HASH or len(known) != base.bundle.manifest.data.interactions:
        return False
    return len(np.unique(event_hashes(dataset)[known])) == len(base.learned.hashes)


def counted_before(base: Base, vocabulary: Vocabulary) -> Pairs:
    """The base's transitions as pairs of the larger vocabulary. Their weights are estimated: a bundle keeps shares."""
    counts, places = base.bundle.counts, base.places_in(vocabulary)
    rows = np.diff(counts.starts)
    leader = np.repeat(np.arange(len(rows)), rows)
    times = counts.times.astype(np.int64)
    shares = counts.shares.astype(np.float64)
    per_share = np.bincount(leader, times, len(rows)) / np.maximum(np.bincount(leader, shares, len(rows)), 1e-12)
    direct = counts.direct.astype(np.int64)
    return Pairs(places[leader], places[counts.followers], times, direct, shares * per_share[leader] * MEAN_DECAY)


def popularity_since(
    base: Base, items: NDArray[np.int64], occurred_at: NDArray[np.int64], vocabulary: Vocabulary
) -> NDArray[np.float64]:
    """`recent_popularity` of the base's log and these interactions, by time.

    How much of the base's log came after a late one is estimated, as if that log had come evenly.
    """
    data = base.bundle.manifest.data
    before = data.interactions
    half_life = RECENT * max(before + len(items), 1)
    after_it = before * np.clip((data.last - occurred_at) / max(data.last - data.first, 1), 0, 1)
    ages = np.arange(len(items))[::-1] + after_it
    counted = np.bincount(items, 0.5 ** (ages / half_life), len(vocabulary)) + 0.5 / len(vocabulary)
    weight = half_life / np.log(2) * (1 - 0.5 ** (before / half_life))  # of the whole log before, when it ended
    newer = int((occurred_at > data.last).sum())
    counted[base.places_in(vocabulary)] += base.bundle.popularity * weight * 0.5 ** (newer / half_life)
    shares: NDArray[np.float64] = counted / counted.sum()
    return shares
