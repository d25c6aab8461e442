"""Many training runs from one grid file: planned, run here or by Slurm, and collected into one table.

`grid` reads the file, `execute` runs what is missing, `results` reads folders back.
"""
