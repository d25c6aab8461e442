"""Small words of messages."""


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 node", "1,200 nodes".

    Args:
        number: how many.
        one: the noun in the singular.
        many: its plural, where that is not the singular with an s.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
