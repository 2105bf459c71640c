"""What a training holds in memory: the network, its running average, the average that was chosen, and the optimizer's state."""

import copy
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamrec.serving.counting import recent_popularity
from streamrec.training.batches import Batch
from streamrec.training.checkpoint import Plan, Precision
from streamrec.training.continued import Base
from streamrec.training.fit import LEAST_SLATES
from streamrec.training.kernels import Dropout, FullSoftmax
from streamrec.training.lessons import Lessons
from streamrec.training.modes import new_network
from streamrec.training.network import Model, Softmax
from streamrec.training.sampled import sampled_softmax

WEIGHT_DECAY = 0.01
QUICK = 10  # times the rate at which it is learned how much people come back: one number, which few steps must find
CLIP = 1.0  # of the gradient's norm
CHECKED_AT_ONCE = 128  # targets
GENTLE = 0.2  # of a step is taken by what a continued bundle knows


def fastest_precision() -> Precision:
    """Matrix products in bfloat16 take half the time where the processor has them; elsewhere they are slower than float32's."""
    has = torch.cpu.get_capabilities()
    return "bf16" if has.get("avx512_bf16") or has.get("amx_bf16") else "fp32"


class Learner:
    """Learns batch by batch. The same plan and lessons start and go on the same way.

    ``averaged`` is the running average of the weights, ``best`` the one that the validations have chosen.
    """

    def __init__(self, lessons: Lessons, plan: Plan, base: Base | None = None) -> None:
        torch.manual_seed(plan.seed)
        shares = torch.from_numpy(recent_popularity(lessons.learned.items, len(lessons.vocabulary), half_life=math.inf)).float()
        self.network = new_network(lessons, plan, shares, base).train()
        self._known = torch.from_numpy(base.places_in(lessons.vocabulary)) if base else None
        self._softmax: Softmax = partial(sampled_softmax, shares=shares) if plan.sampled else FullSoftmax.apply
        self._precision = {"bf16": torch.bfloat16, "fp32": torch.float32}[plan.precision]
        quick = [member.again for member in self.network.members]
        others = [each for each in self.network.parameters() if not any(each is one for one in quick)]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": others, "rate_factor": 1, "weight_decay": WEIGHT_DECAY},
                {"params": quick, "rate_factor": QUICK, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
            fused=True,
        )
        self.averaged = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.best = copy.deepcopy(self.averaged)
        self._highest = np.empty(0)  # what each target earned in the best validation
        self._seed = plan.seed

    def drop(self, share: float) -> None:
        """How much dropout there is from now on."""
        for module in self.network.modules():
            if isinstance(module, Dropout):
                module.drop(share)

    def learn(self, turn: Sequence[Batch], step: int, rate: float, share_kept: float) -> float:
        """One step, which leaves ``share_kept`` of the average so far; gives the loss, of several members the mean.

        Args:
            turn: a batch for each member.
        """
        # The dropout of each step has its own seed: a training that was taken up drops what an uninterrupted one drops.
        torch.manual_seed(int(np.random.SeedSequence([self._seed, step]).generate_state(1)[0]))
        losses = []
        self._optimizer.zero_grad()
        # one member after the other: what is kept for a gradient is in memory for one alone
        for member, batch in zip(self.network.members, turn, strict=True):
            loss = member.loss(torch.from_numpy(batch.items), torch.from_numpy(batch.targets), self._precision, self._softmax)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(member.parameters(), CLIP)
            losses.append(loss.item())
        self._step(rate)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.network.parameters()), 1 - share_kept)
        return sum(losses) / len(losses)

    def _step(self, rate: float) -> None:
        """Where a bundle is continued, what it knows moves little, so that it is not forgotten; new items move freely."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["rate_factor"]
        if self._known is None:
            self._optimizer.step()
            return
        with torch.no_grad():
            before = [parameter.clone() for parameter in self.network.parameters()]
            self._optimizer.step()
            for old, parameter in zip(before, self.network.parameters(), strict=True):
                if any(parameter is of_items for member in self.network.members for of_items in (member.embeddings, member.bias)):
                    parameter[self._known] = old[self._known].lerp(parameter[self._known], GENTLE)
                else:
                    parameter.copy_(old.lerp(parameter, GENTLE))

    def go_on_from_best(self) -> None:
        """When all is chosen: where it was not the newest average, what comes begins there. ``best`` stays what it is."""
        pairs = zip(self.best.parameters(), self.averaged.parameters(), strict=True)
        if not all(torch.equal(best, newest) for best, newest in pairs):
            self.network.load_state_dict(self.best.state_dict())
            self.averaged.load_state_dict(self.best.state_dict())

    def choose(self, lessons: Lessons) -> float | None:
        """NDCG@10 of the average, which is chosen unless it `is_worse` than the best one was.

        With too few targets it is None: chance decides what they earn.
        """
        earned = self.validate(lessons)
        if not is_worse(earned, self._highest):
            self.best.load_state_dict(self.averaged.state_dict())
        if len(earned) and (not len(self._highest) or earned.mean() > self._highest.mean()):
            self._highest = earned
        return float(earned.mean()) if len(earned) >= LEAST_SLATES else None

    @torch.no_grad()
    def validate(self, lessons: Lessons) -> NDArray[np.float64]:
        """What the average earns, NDCG@10 target by target; what the user has had is left out, ties count against it."""
        checked = min(len(lessons.targets), self.averaged.checked)
        earned = np.zeros(checked)
        by_length = sorted(range(checked), key=lambda place: len(lessons.histories[place]))  # little padding
        for first in range(0, checked, CHECKED_AT_ONCE):
            places = by_length[first : first + CHECKED_AT_ONCE]
            histories = [lessons.histories[place] for place in places]
            lengths = torch.tensor([len(history) for history in histories])
            items = torch.zeros(len(histories), int(lengths.max()), dtype=torch.int64)
            for row, history in zip(items, histories, strict=True):
                row[: len(history)] = torch.from_numpy(history)
            for place, log_probs in zip(places, self.averaged.log_probs(items, lengths).numpy(), strict=True):
                target = lessons.targets[place]
                log_probs[lessons.seen[place]] = -np.inf
                rank = (log_probs >= log_probs[target]).sum() if target >= 0 else math.inf
                earned[place] = 1 / math.log2(rank + 1) if rank <= 10 else 0.0
        return earned

    def tensors(self) -> dict[str, Tensor]:
        """Everything that goes into a checkpoint."""
        found = {f"{kind}/{name}": tensor for kind, of in self._networks() for name, tensor in of.state_dict().items()}
        for number, state in self._optimizer.state_dict()["state"].items():
            found |= {f"optimizer/{number}/{name}": tensor for name, tensor in state.items()}
        return found | {"highest": torch.from_numpy(self._highest)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Takes up what `tensors` gave."""
        for kind, of in self._networks():
            of.load_state_dict({name: tensors[f"{kind}/{name}"] for name in of.state_dict()})
        state: dict[int, Any] = {}
        for path, tensor in tensors.items():
            if path.startswith("optimizer/"):
                _, number, name = path.split("/")
                state.setdefault(int(number), {})[name] = tensor
        self._optimizer.load_state_dict(self._optimizer.state_dict() | {"state": state})
        self._highest = tensors["highest"].numpy()

    def _networks(self) -> tuple[tuple[str, Model], ...]:
        return ("network", self.network), ("averaged", self.averaged), ("best", self.best)


def is_worse(earned: NDArray[np.float64], highest: NDArray[np.float64]) -> bool:
    """Whether what targets earn is less than the ``highest`` so far by more than one standard error of the difference.

    Within that it is chance which of them is higher (the one-standard-error rule of Breiman et al., Classification and
    Regression Trees, 1984). The same targets in the same order; of a single one, or none, nothing is known, and it is not worse.
    """
    if min(len(earned), len(highest)) < 2:
        return False
    lost = highest - earned
    return bool(lost.mean() > lost.std(ddof=1) / math.sqrt(len(lost)))
