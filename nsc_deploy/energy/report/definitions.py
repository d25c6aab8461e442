"""The words every report carries: definitions, and what is counted, estimated and left out."""

from nsc_deploy.energy.pricing.price import PriceBook
from nsc_deploy.energy.pricing.profile import Basis, Profile
from nsc_deploy.energy.report.schema import Term

DEFINITIONS = (
    Term(
        name="Synaptic operation (SynOp)",
        meaning="One presynaptic event meets one existing (non-zero) synapse, at its true fan-out: strides, "
        "borders and groups of a convolution are counted exactly, the bias is not. The spike rate is in the "
        "events already and is applied once.",
    ),
    Term(
        name="AC, MAC",
        meaning="A SynOp is an accumulate where the graph can only deliver 0 or 1, else a "
        "multiply-accumulate. The graph decides, never the values that came by.",
    ),
    Term(
        name="Real and graded inputs",
        meaning="Real values cost all their synapses in every step, zero or not; graded events only where "
        "they are not zero. In an ONNX graph a zero weight that meets real values is multiplied too.",
    ),
    Term(
        name="LSTM",
        meaning="4 x hidden x (inputs + hidden) MACs a step. Apart from them, for each hidden unit: 3 "
        "products, 1 addition, 4 more for a bias, and 5 evaluations of functions.",
    ),
    Term(
        name="Neuron update",
        meaning="One update of one neuron in one step, whether it fires or not. Neurons that an ONNX graph "
        "spells out in operators are counted as their products and additions.",
    ),
    Term(
        name="Additions",
        meaning="Biases (each step), and joins of values without weights: k values at one place take k - 1.",
    ),
    Term(
        name="Reads and writes",
        meaning="A SynOp reads its weight; an event that meets a synapse also reads and writes the state of "
        "the target, real values are summed in a register. An update reads and writes each state variable. A "
        "spike is written once, read once by each node it enters. A value is priced as its share of a word "
        "of the smallest memory that holds all the layer keeps of the kind; nothing is reused.",
    ),
    Term(
        name="Break-even rate",
        meaning="Events an input and step at which the spiking side costs what the bit-matched ANN does, "
        "both with memory, if all events grew or shrank alike: (ANN - fixed) / (spiking - fixed) times the "
        "rate now. Fixed is what does not depend on events: updates, biases, real inputs.",
    ),
    Term(
        name="Events per synapse",
        meaning="ACs of one sample divided by the synapses that events meet. Published break-even points "
        "against a dense network of the same size lie between 0.15 and 1.38 (Dampfhoffer et al. 2023), "
        "depending on the memory that is assumed.",
    ),
)

POSTER = {"att-neurosc": 3.63, "fc": 11.73, "lstm": 17.58}

POSTER_NOTE = (
    "The poster (table 3) states 3.63, 11.73 and 17.58 uJ for Att-NeuroSC, FC and LSTM, a ratio of "
    "1 : 3.23 : 4.84, on the Spiking Heidelberg Digits, and does not say which parts and operations it "
    "counts. With its sizes (15 steps) and 4.6 pJ a MAC, the attention block of its receiver alone, whose "
    "input is real-valued, takes 3.30 M multiply-accumulates or 15.2 uJ: its 3.63 uJ cannot price them as "
    "multiplications. Nothing in this report is tuned to meet its figures."
)


def basis_words(profile: Profile) -> str:
    """How the source of a profile came by its prices, to be read after "prices that are"."""
    return {
        Basis.MEASURED: "measured by their source on silicon",
        Basis.ESTIMATED: "estimated by their source",
        Basis.QUOTED: "quoted by their source, which does not say how they came about",
    }[profile.basis]


def estimated(
    prices: PriceBook, samples: int, target: str | None = None, *, hosted: bool = False, coded: bool = False
) -> tuple[str, ...]:
    """What of a report is counted, what is estimated and what is left out.

    Args:
        prices: of the operations.
        samples: recorded inputs that were counted.
        target: where parts were placed.
        hosted: whether any part runs on a host.
        coded: whether any system codes source and channel separately.
    """
    profile = prices.profile
    lines = [
        f"Counted, exactly: every operation, from the graphs and {samples} recorded inputs. No rate is "
        "assumed.",
        f"Estimated: the energies. The prices of {profile.name} are {basis_words(profile)}; no device was "
        f"measured for this report. Scope of the prices: {profile.scope}",
        "Not included in any column: messages between cores, clocks, converters, power at rest "
        f"({_static_words(profile)}), finding the weights ({_addressing_words(profile)}), the radio "
        f"({_radio_words(profile)}) and everything before the events. Weights, states and activations in "
        "memory: in the columns with memory only.",
    ]
    if hosted:
        lines.append(_hosts(prices))
    if coded:
        from nsc_deploy.energy.counting.coding import LEFT_OUT

        lines.append(LEFT_OUT)
    if target is not None and target.partition(":")[0] == "c":
        lines.append(
            f"On {target}: flash and RAM are those of the compiled code; energy and time are bounds, from "
            "the cycles that Arm states for each instruction, without wait states. No board was measured."
        )
    elif target is not None:
        lines.append(
            f"On {target}: pools are exact for one placement (greedy, as `nsc-deploy check --target "
            f"{target}` shows it); a better one may exist. Messages, hops and synapse events are exact for "
            "it too, where a network of cores is published; their energy is an item of its own, in no "
            "column. Time is estimated where durations are published: two bounds. Traffic with the host is "
            "counted, and neither priced nor timed but for its arrival at a core: no source has a figure."
        )
    if profile.memory_included:
        lines.append(
            f"The prices of {profile.name} are for whole operations, memory included as far as their source "
            "does; the column with memory therefore charges nothing more."
        )
    elif not profile.memories:
        lines.append(f"{profile.name} prices no memory, so the columns with memory are lower bounds.")
    if not profile.event_driven:
        lines.append(
            "This device works through every synapse in every step; sparse events save it nothing, and all "
            "columns charge the dense operations."
        )
    return tuple(lines)


def _hosts(prices: PriceBook) -> str:
    """How the parts on a host are priced."""
    if prices.host is not None:
        host = prices.host
        words = f"Parts on a host are priced with {host.name}, whose prices are {basis_words(host)}"
        return f"{words}. Scope: {host.scope}"
    return (
        f"Parts on a host are priced with {prices.profile.name} too, as if they ran there; --host-profile "
        "names prices of the host."
    )


def _radio_words(profile: Profile) -> str:
    """What is said of the link."""
    if profile.radio is None:
        return "the profile has no price of a channel use"
    price = f"{profile.radio.channel_use.picojoules:g} pJ a channel use"
    return f"an item of its own: {price}, {profile.radio.source}"


def _static_words(profile: Profile) -> str:
    """What is said of leakage."""
    power = profile.static_power
    if power is None:
        return "the profile has none"
    return f"an item of its own: {power.value:g} {power.unit} at each end, {power.source}"


def _addressing_words(profile: Profile) -> str:
    """What is said of indices and addresses."""
    if profile.addressing is None:
        return "the profile has no price of it"
    price = f"{profile.addressing.synapse.picojoules:g} pJ a synaptic operation"
    return f"an item of its own: {price}, {profile.addressing.source}"
