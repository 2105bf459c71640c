"""The network: transformers' GPT-2 over item tokens, its output tied to the item embeddings. It knows no data and no loop."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2Model

from streamrec.training.kernels import ATTENTION, Dropout

Softmax = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
REACH = 2  # items before each one that are mixed into its token


class Network(nn.Module):
    """Histories of item indexes in, hidden states out; `log_probs` turns the last state into a distribution over all items.

    Args:
        items: the size of the vocabulary.
    """

    checked = 1000  # validation targets that are worth their time
    stride = 1  # tokens of an item

    def __init__(self, items: int, *, dim: int, layers: int, heads: int, context: int, dropout: float) -> None:
        super().__init__()
        config = GPT2Config(
            vocab_size=items,
            n_positions=context,
            n_embd=dim,
            n_layer=layers,
            n_head=heads,
            activation_function="gelu",  # GPT-2's own gelu_new is its approximation, and twice as slow in bfloat16
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            resid_pdrop=dropout,
            bos_token_id=None,
            eos_token_id=None,
            use_cache=False,
        )
        self.gpt2 = GPT2Model(config)  # type: ignore[no-untyped-call]
        self.gpt2.set_attn_implementation(ATTENTION)
        for name, module in list(self.gpt2.named_modules()):
            if isinstance(module, nn.Dropout):
                self.gpt2.set_submodule(name, Dropout(dropout))
        self.before = nn.Parameter(torch.zeros(REACH, dim))
        self.bias = nn.Parameter(torch.zeros(items))
        self.again = nn.Parameter(torch.zeros(1))

    @property
    def members(self) -> "Sequence[Network]":
        """Itself: an `Ensemble` has several."""
        return (self,)

    @property
    def embeddings(self) -> Tensor:
        """A row for each item: its token on the way in, and its place in the output."""
        weight: Tensor = self.gpt2.wte.weight
        return weight

    @torch.no_grad()
    def start(self, vectors: Tensor, popularity: Tensor, again: float) -> None:
        """Begins with a vector and a share of the interactions for each item, instead of noise.

        Args:
            again: what is added to the logits of all that a row has had. It is learned on; without it a network must learn to point
                away from everything it has read.
        """
        self.embeddings.copy_(vectors)
        self.bias.copy_(popularity.log())
        self.again.fill_(again)

    def embed(self, tokens: Tensor) -> Tensor:
        """(batch, steps, dim): each token, with a share of those of the items just before it, learned for each dimension.

        A causal depthwise convolution, as before the attention in Primer (So et al., arXiv 2109.08668): what follows from the last
        two or three items needs no attention head to find them.
        """
        single: Tensor = self.gpt2.wte(tokens)
        mixed = single
        for lag, share in enumerate(self.before, start=1):
            mixed = mixed + share * functional.pad(single, (0, 0, lag * self.stride, 0))[:, : tokens.shape[1]]
        return mixed

    def forward(self, items: Tensor) -> Tensor:
        """The state after each position; padding on the right needs no mask, because no position sees what comes later."""
        states: Tensor = self.gpt2(inputs_embeds=self.embed(items)).last_hidden_state
        return states

    def loss(self, items: Tensor, targets: Tensor, precision: torch.dtype, softmax: Softmax) -> Tensor:
        """Mean cross-entropy of the targets, -1 where there is none; both (batch, steps).

        Args:
            precision: of the matrix products.
            softmax: from states, embeddings, bias, targets, what each row `had` and what is added to that, to the loss.
        """
        asked = targets >= 0
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            states = self(items)[asked].to(precision)
        return softmax(states, self.embeddings, self.bias, targets[asked], had_so_far(items)[asked], self.again)

    def log_probs(self, items: Tensor, lengths: Tensor) -> Tensor:
        """What comes after the last of each row's ``lengths`` items."""
        last = (lengths - 1)[:, None, None].expand(-1, 1, self.embeddings.shape[1])
        state = self(items).gather(1, last).squeeze(1)
        logits = state @ self.embeddings.T + self.bias
        known = torch.where(torch.arange(items.shape[1]) < lengths[:, None], items, items[:, :1])
        return torch.log_softmax(logits.scatter(1, known, logits.gather(1, known) + self.again), dim=-1)

    def chances(self, history: Tensor, items: Tensor) -> Tensor:
        """The log-probability of each of ``items`` after one ``history``."""
        return self.log_probs(history[None], torch.tensor([len(history)]))[0, items]


def had_so_far(items: Tensor) -> Tensor:
    """What a row of (batch, steps) has had up to and at each step, each item once: (batch, steps, steps), -1 for none."""
    steps = items.shape[1]
    until = torch.ones(steps, steps, dtype=torch.bool).tril()
    twice = ((items[:, :, None] == items[:, None, :]) & until.tril(-1)).any(dim=2)
    return torch.where(until & ~twice[:, None, :], items[:, None, :], -1)


class Ensemble(nn.Module):
    """Networks that learn side by side; their answer is the mean of their log-probabilities, made to sum to 1.

    What one of them has learned by heart the others have not (deep ensembles, Lakshminarayanan et al., arXiv 1612.01474).
    """

    checked = Network.checked
    members: Sequence[Network]

    def __init__(self, members: Sequence[Network]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)  # type: ignore[assignment]  # a sequence to whoever reads it

    def log_probs(self, items: Tensor, lengths: Tensor) -> Tensor:
        """What comes after the last of each row's ``lengths`` items."""
        answers = [member.log_probs(items, lengths) for member in self.members]
        return torch.log_softmax(torch.stack(answers).mean(dim=0), dim=-1)

    def chances(self, history: Tensor, items: Tensor) -> Tensor:
        """The log-probability of each of ``items`` after one ``history``."""
        return self.log_probs(history[None], torch.tensor([len(history)]))[0, items]


Model = Network | Ensemble
