"""Lava's fixed-point processes emulated bit for bit, fast enough for a whole test set.

A `Network` is a chain of layers. Each is a connection (`Dense`, `Sparse`, `DelayDense`, `DelaySparse` or
`Conv`), the LIF neurons behind it and, if wanted, a connection from their spikes back to them. `simulate`
runs samples and records spikes, u and v; the rules are in `kernels` (every step) and in `connections` and
`network` (once, before the first). `output_spikes` and `all_spikes` record no states, and most layers then go
through a faster loop with the same spikes, `plain_layers`.
"""
