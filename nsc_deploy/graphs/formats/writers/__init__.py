"""Graphs that other frameworks wrote: who probably wrote a file, and which faults of that writer it shows.

NIR files do not name the program that wrote them, so everything here goes by traces: names of nodes, types
of numbers, relations between parameters. What was measured with which release is in
docs/other-frameworks.md; each detector is one function, and `detectors.DETECTORS` lists them.
"""
