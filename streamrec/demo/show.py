"""A recommendation and its explanation in the terminal, each saying which event caused it."""

from collections.abc import Mapping

from rich.markup import escape

from streamrec.core.types import Explanation, Item, Recommendation

VERBS = {"listens": "played", "clicks": "clicked"}
SHOWN = 3  # slots in full; the rest by number


def lines(
    recommendation: Recommendation, explanation: Explanation, item_id: str, items: Mapping[str, Item], latency_ms: float | None
) -> list[str]:
    """The lines to print. ``item_id`` is what the event was about; ``latency_ms`` None for a repeated record."""
    trigger = recommendation.trigger
    place = f"{trigger.topic}/{trigger.partition}@{trigger.offset}"
    took = f"{latency_ms:.0f} ms" if latency_ms is not None else "again"
    user, verb = escape(recommendation.user_id), VERBS.get(trigger.topic, "touched")
    shown = [f"[bold cyan]{user}[/] {verb} {_name(item_id, items)}  [dim]{place}  {took}[/]"]
    for slot, explained in zip(recommendation.items[:SHOWN], explanation.items, strict=False):
        reason = escape(explained.text)
        shown.append(f"   [bold]{slot.rank}[/] {_name(slot.item_id, items)}  [green]{slot.relevance:.1%}[/]  [dim]{reason}[/]")
    more = len(recommendation.items) - SHOWN
    return shown + ([f"   [dim]… and {more} more[/]"] if more > 0 else [])


def _name(item_id: str, items: Mapping[str, Item]) -> str:
    item = items.get(item_id)
    if item is None or not item.title:
        return f"item {escape(item_id)}"
    return escape(f"“{item.title}”" + (f" by {item.creator}" if item.creator else ""))
