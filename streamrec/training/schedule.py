"""How fast a training learns, how wide it averages, and how much it drops: by step and length alone, no network."""

import math

LEARNING_RATE = 1.5e-3
LEFT = 0.3  # of the rate, at the end: see learning_rate
WARM_UP = 100  # steps, or a tenth of all where these are fewer
LEAST_DROPOUT = 0.1  # in FEW_EPOCHS or fewer, ...
FEW_EPOCHS = 8
DROPOUT_GAIN = 0.007  # ... so much more for each further epoch, ...
MOST_DROPOUT = 0.2  # ... until there is so much


def learning_rate(step: int, steps: int) -> float:
    """A short warm-up, then half a cosine, but not down to zero: see share_kept."""
    warm_up = max(1, min(WARM_UP, steps // 10))
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return LEARNING_RATE * min(1.0, (step + 1) / warm_up) * (LEFT + (1 - LEFT) * cosine)


def share_kept(step: int) -> float:
    """What step ``step`` leaves of the average of the weights.

    Six sevenths of the average are of the last fifth of the steps so far, whatever their number (polynomial-decay averaging,
    Shamir & Zhang, ICML 2013). While the rate is not zero the weights move around in a flat place, whose middle generalises
    better than where a rate of zero would leave them (stochastic weight averaging, Izmailov et al., UAI 2018).
    """
    return (step + 1) / (step + 10)


def fitting_dropout(epochs: float) -> float:
    """What is met more often is more easily learned by heart: a tenth up to eight epochs, a fifth from 22 on, evenly between."""
    return round(min(MOST_DROPOUT, LEAST_DROPOUT + DROPOUT_GAIN * max(0.0, epochs - FEW_EPOCHS)), 3)
