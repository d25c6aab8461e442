"""The twin: Lava's fixed-point processes, bit for bit, fast enough for a whole test set.

A `Network` is a chain of layers. Each is a connection (`Dense`, `Sparse`, `DelayDense`, `DelaySparse` or
`Conv`), the LIF neurons behind it and, if wanted, a connection from their spikes back to them. `simulate`
runs samples and records spikes, u and v; the rules are in `nsc_deploy.exporters.lava.emulator.kernels` (every step) and
in `weights` and `neurons` (once, before the first).
"""
