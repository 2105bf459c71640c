"""Next-K, tuned (Petrov & Macdonald, arXiv 2403.04875): a network that ranks learns to write slates, accurate and diverse.

The paper imitates a Top-K teacher first. Here the teacher is part of the student: its network stays as it is, and what is added
starts at nothing and is multiplied by a dial. At 0 the slate is the teacher's own; how far 1 goes from it is learned.

Policy gradient, with rewards that are due at once: an item earns its discounted probability by the teacher (the NDCG to be
expected), and the dial times its distance from the items before it (the diversity of evaluation.metrics). As these are known for
every item, the gradient of a step is exact, over all items; only the slate so far is sampled.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import DynamicCache

from streamrec.core.errors import UserError
from streamrec.serving.nextk import jaccard, tag_table
from streamrec.training.lessons import Lessons, Rows
from streamrec.training.network import Network

SLATE = 10  # items that are written one by one
TAGS = 64  # the most common ones say what is alike
WORTH = 0.3  # of diversity against NDCG, when the dial is at 1
SHARPNESS = 3.0  # of the policy while it learns: a slate is served greedily
RATE = 3e-3
HISTORIES = 64  # in a step


class SlateWriter(nn.Module):
    """What is added to a frozen network so that it writes slates.

    The state after an item of the slate moves the teacher's state, and what is like the items before is pushed down.

    Args:
        tags: of each item, as numbers.
    """

    def __init__(self, network: Network, tags: Sequence[Sequence[int]]) -> None:
        super().__init__()
        dim = network.embeddings.shape[1]
        last_place = network.gpt2.wpe.weight[-1].detach()
        self.places = nn.Parameter(last_place.repeat(SLATE - 1, 1))  # of the slate's items: they are no history
        self.mix = nn.Parameter(torch.zeros(dim, dim))
        self.push = nn.Parameter(torch.full((SLATE - 1,), 0.5))
        self.tags = tags
        self._table = tag_table(tags, len(tags))

    def alike(self, items: Sequence[int]) -> Tensor:
        """How like each of the items every item of the vocabulary is: (items, vocabulary)."""
        return torch.from_numpy(jaccard(self._table[items], self._table))

    def forward(self, state: Tensor, first: Tensor, alike: Tensor, step: int, dial: Tensor, network: Network) -> Tensor:
        """Logits (batch, items) after the slate's item ``step``.

        Args:
            state: after that item. first: after the history, the teacher's.
            alike: how like the slate so far each item is, (batch, items).
            dial: (batch, 1).
        """
        moved = first + dial * (state @ self.mix)
        return moved @ network.embeddings.T + network.bias - dial * self.push[step] * alike


def common_tags(tags: Sequence[Sequence[str]]) -> list[list[int]]:
    """Of each item those of its tags that are among the TAGS most common ones, as numbers."""
    counted = Counter(tag for each in tags for tag in sorted(set(each)))
    number = {tag: place for place, (tag, _) in enumerate(counted.most_common(TAGS))}
    return [sorted(number[tag] for tag in set(each) if tag in number) for each in tags]


def tune(
    network: Network, tags: Sequence[Sequence[int]], lessons: Lessons, steps: int, seed: int, progress: Callable[[int, float], None]
) -> SlateWriter:
    """Learns for ``steps`` steps; ``progress`` is told each step and what its slates earned.

    Raises:
        UserError: there are too few items for a slate after a history.
    """
    most = min(network.gpt2.config.n_positions, len(tags) - SLATE)  # in a history: something must be left to write
    if most < 1:
        raise UserError(f"--mode next-k: {len(tags)} items are too few to tune slates of {SLATE}; choose --tune 0")
    torch.manual_seed(seed)
    random = np.random.default_rng([seed, 1])
    writer = SlateWriter(network, tags)
    optimizer = torch.optim.AdamW(writer.parameters(), lr=RATE, weight_decay=0.0)
    rows = lessons.learned
    places = np.flatnonzero(rows.users[1:] == rows.users[:-1]) + 1
    for step in range(steps):
        histories = [_before(rows, place, most) for place in random.choice(places, HISTORIES)]
        dial = torch.rand(HISTORIES, 1)
        earned = _write(network, writer, histories, dial)
        optimizer.zero_grad()
        (-earned.mean()).backward()  # type: ignore[no-untyped-call]
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        optimizer.step()
        progress(step + 1, float(earned.detach().mean()))
    return writer.eval().requires_grad_(False)


def _before(rows: Rows, place: int, most: int) -> NDArray[np.int64]:
    since = max(place - most, 0)
    before: NDArray[np.int64] = rows.items[since:place][rows.users[since:place] == rows.users[place]]
    return before


def _write(network: Network, writer: SlateWriter, histories: Sequence[NDArray[np.int64]], dial: Tensor) -> Tensor:
    """What a sampled slate for each history is expected to earn, (batch); its gradient is the policy's."""
    batch, longest = len(histories), max(map(len, histories))
    items, mask = torch.zeros(batch, longest, dtype=torch.int64), torch.zeros(batch, longest, dtype=torch.int64)
    for row, history in enumerate(histories):
        items[row, : len(history)] = torch.from_numpy(history)
        mask[row, : len(history)] = 1
    rows = torch.arange(batch)
    cache = DynamicCache()
    with torch.no_grad():
        states = network.gpt2(inputs_embeds=network.embed(items), past_key_values=cache, use_cache=True).last_hidden_state
        first = states[rows, mask.sum(dim=1) - 1]
        logits = first @ network.embeddings.T + network.bias
        last = mask.sum(dim=1, keepdim=True) - 1 - torch.arange(len(network.before))
        recent = network.embeddings[items.gather(1, last.clamp_min(0))] * (last >= 0)[:, :, None]
        allowed = torch.ones_like(logits, dtype=torch.bool)
        for row, history in enumerate(histories):
            allowed[row, torch.from_numpy(history)] = False
        teacher = logits.masked_fill(~allowed, -torch.inf).softmax(dim=1)
    alike = torch.zeros_like(teacher)
    earned = torch.zeros(batch)
    worth = dial * WORTH * 2 / (SLATE * (SLATE - 1))
    for step in range(SLATE):
        policy = (SHARPNESS * logits).masked_fill(~allowed, -torch.inf).softmax(dim=1)
        earns = teacher / np.log2(step + 2) + worth * (step - alike)
        if step:  # the first item is the teacher's
            earned = earned + (policy * earns).sum(dim=1)
        if step + 1 == SLATE:
            break
        with torch.no_grad():
            chosen = policy.multinomial(1).squeeze(1) if step else logits.masked_fill(~allowed, -torch.inf).argmax(dim=1)
            allowed = allowed.scatter(1, chosen[:, None], False)
            alike = alike + writer.alike(chosen.tolist())
            mask = torch.cat([mask, torch.ones(batch, 1, dtype=torch.int64)], dim=1)
            single = network.embeddings[chosen]
            embedded = single + (network.before * recent).sum(dim=1)
            recent = torch.cat([single[:, None], recent], dim=1)[:, : len(network.before)]
        embedded = embedded + writer.places[step] - network.gpt2.wpe.weight[0]
        state = network.gpt2(
            inputs_embeds=embedded[:, None],
            position_ids=torch.zeros(batch, 1, dtype=torch.int64),
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, 0]
        logits = writer(state, first, alike, step, dial, network)
    return earned


@torch.no_grad()
def write_slate(
    network: Network, writer: SlateWriter | None, history: NDArray[np.int64], had: NDArray[np.int64], size: int, dial: float
) -> dict[int, float]:
    """The greedy slate after one history, each item with the log-probability of the slate up to it; by whole passes, no cache.

    What the exported graph is compared with.
    """
    slate: dict[int, float] = {}
    table, total = network.gpt2.wpe.weight, 0.0
    read, ratio = len(history), torch.tensor([[dial]])
    allowed = torch.ones_like(network.bias, dtype=torch.bool)
    allowed[torch.from_numpy(had)] = False
    while len(slate) < size and allowed.any():
        items = torch.tensor([*history.tolist(), *slate])
        places = table[: len(items)] if writer is None else torch.cat([table[:read], writer.places[: len(slate)]])
        embedded = network.embed(items[None]) + places - table[0]
        nowhere, everything = torch.zeros(1, len(items), dtype=torch.int64), torch.ones(1, len(items), dtype=torch.int64)
        states = network.gpt2(inputs_embeds=embedded, position_ids=nowhere, attention_mask=everything).last_hidden_state[0]
        if writer is None or not slate:
            logits = states[-1:] @ network.embeddings.T + network.bias
        else:
            alike = writer.alike(list(slate)).sum(dim=0, keepdim=True)
            logits = writer(states[-1:], states[read - 1 : read], alike, len(slate) - 1, ratio, network)
        chances = logits[0].double().masked_fill(~allowed, -torch.inf).log_softmax(dim=0)
        chosen = int(chances.argmax())
        total += float(chances[chosen])
        slate[chosen] = total
        allowed[chosen] = False
    return slate
