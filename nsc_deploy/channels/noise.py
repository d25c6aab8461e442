"""The definition of SNR, in one place."""

from torch import Tensor


def noise_power(symbols: Tensor, snr_db: float) -> Tensor:
    """Power of the complex noise for each sample: mean |x|^2 * 10^(-SNR / 10).

    The mean is over all steps and symbols of one sample, as sent (before fading), silent ones included. (The
    poster's code takes it over the whole batch; then a sample's result would depend on its neighbours in the
    batch.) This is the total power of a complex noise value: the real and the imaginary part have half each.
    The gradient flows through it, as it must for the gradient of this channel to be the true one: a sparse
    transmitter meets little noise in each of its symbols, and can learn so. A sample without any symbol has
    no noise either.

    Args:
        symbols: real amplitudes x [T, B, S].
        snr_db: in dB.

    Returns:
        [B].
    """
    power: Tensor = symbols.square().mean(dim=(0, 2))
    return power * 10 ** (-snr_db / 10)
