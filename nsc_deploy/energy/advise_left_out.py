"""What could not be tried on a system to save energy, and why."""

from collections.abc import Iterator, Sequence

from nsc_deploy.energy.advice.prune import silent_alone
from nsc_deploy.energy.advise_bench import Bench
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.systems import CountedSystem


def left_out(
    counted: CountedSystem, benches: Sequence[Bench], profile: Profile, *, with_rival: bool
) -> tuple[str, ...]:
    """A line for each.

    Args:
        counted: the system.
        benches: its NIR parts.
        profile: the prices.
        with_rival: whether a run with a lower rate was given.
    """
    return (
        *_parts(counted),
        *_bits_and_steps(counted, benches, profile),
        *_single_neurons(benches),
        *(() if with_rival else (_RATE,)),
    )


_RATE = "lower rate: give a second run, trained with a loss on the rate of spikes (--rate-run)"


def _parts(counted: CountedSystem) -> Iterator[str]:
    for work, part in zip(counted.work, counted.count.parts, strict=True):
        if work.graph.suffix != ".nir":
            yield f"{part.name}: an ONNX graph is not changed"


def _bits_and_steps(counted: CountedSystem, benches: Sequence[Bench], profile: Profile) -> Iterator[str]:
    if not any(one.outputs_decide for one in benches):
        yield "fewer steps and bits: no NIR part with labels and a readout is the last, so no accuracy"
        return
    if len(benches) < len(counted.work):
        yield "fewer steps: an ONNX part may look ahead, so a shorter recording is another input"
    if len(benches) > 1:
        yield "fewer bits before the last part: what they change there has to cross the channel anew"
    if profile.operand_bits is None or not profile.memories:
        yield f"fewer bits: {profile.name} prices no memory by width"


def _single_neurons(benches: Sequence[Bench]) -> Iterator[str]:
    for bench in benches:
        for node in bench.network.nodes:
            alone = silent_alone(bench.activity, node)
            if alone:
                where = f"{bench.part.name}/{node.name}"
                yield (
                    f"prune: {alone:,} neurons of {where} never fire while others of their channel do; a "
                    "kernel computes whole channels"
                )
