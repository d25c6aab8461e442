"""What an access to memory costs: the smallest memory of the profile that holds what a layer keeps."""

from nsc_deploy.energy.pricing.profile import Memory, Price, Profile, Unit


def choose_memory(profile: Profile, values: int, bits: int) -> Memory | None:
    """The smallest memory that holds so many values; one without a size (DRAM) holds anything.

    Args:
        profile: has the memories.
        values: to be kept.
        bits: of a value.

    Returns:
        None where the profile has no memory that is large enough.
    """
    needed = -(-values * bits // 8)
    sized = [one for one in profile.memories if one.capacity_bytes is not None]
    for memory in sorted(sized, key=lambda one: one.capacity_bytes or 0):
        if (memory.capacity_bytes or 0) >= needed:
            return memory
    return next((one for one in profile.memories if one.capacity_bytes is None), None)


def access_price(profile: Profile, values: int, bits: int, value_bits: int | None = None) -> Price | None:
    """The price of reading or writing one value.

    The figure of a memory is for a word; a narrower value costs its share of it, as if the rest of the
    word were used too.

    Args:
        profile: has the memories.
        values: held beside it, which decides how large the memory is.
        bits: of each value held.
        value_bits: of the value moved, where it is narrower.
    """
    memory = choose_memory(profile, values, bits)
    if memory is None:
        return None
    return scaled(memory.access, (value_bits or bits) / memory.word_bits, note=memory.name)


def scaled(price: Price, factor: float, *, note: str) -> Price:
    """A price and its range, times a factor, in pJ."""
    low, high = price.bounds_picojoules
    value = min(max(price.picojoules * factor, low * factor), high * factor)
    return Price(value=value, unit=Unit.PICOJOULE, low=low * factor, high=high * factor, note=note)
