"""What nirtorch 2.6's torch_to_nir, which SpikingJelly uses too, leaves out without a word."""

from nsc_deploy.diagnostics import Caution
from nsc_deploy.graphs.foreign.seen import Seen
from nsc_deploy.graphs.formats.writers.recognise import Sign, Writer, chained


def sums(seen: Seen, sign: Sign) -> Caution | None:
    """Of a sum only its modules' outputs are kept, each once."""
    if sign.writer not in {Writer.NIRTORCH, Writer.SPIKINGJELLY} or chained(seen):
        return None
    return Caution(
        "nirtorch-sums",
        "nirtorch drops parts of sums in forward without a word: the constant of h + 1.0, the second h of "
        "h + h, a second argument, the alpha of add.",
        sign.looks,
        "Look at forward: only sums of outputs of different modules come through; write the rest as modules "
        "(Linear with a bias, for example).",
    )
