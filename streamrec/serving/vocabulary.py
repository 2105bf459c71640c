"""Items as the models know them: `item_id` outside, `item_index` inside, and the one place that converts."""

from collections.abc import Sequence


class Vocabulary:
    """The items that were trained on, in the order of their ids: ties by index are ties by id."""

    def __init__(self, item_ids: Sequence[str]) -> None:
        if list(item_ids) != sorted(set(item_ids)):
            raise ValueError("item ids must be sorted, each once")
        self.item_ids = tuple(item_ids)
        self.index = {item_id: index for index, item_id in enumerate(self.item_ids)}

    def __len__(self) -> int:
        return len(self.item_ids)

    def known(self, history: Sequence[str]) -> list[int]:
        """The indexes of the history's items, oldest first; items that were not trained on are left out."""
        index = self.index
        return [index[item_id] for item_id in history if item_id in index]
