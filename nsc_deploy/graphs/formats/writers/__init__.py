"""Graphs that other frameworks wrote: who probably wrote a file, and which faults of that writer it shows.

Everything here goes by traces: names of nodes, types of numbers, relations between parameters. What was
measured with which release is in docs/other-frameworks.md. A fault is one function of
`faults`; the table of them is `diagnose.DETECTORS`.
"""
