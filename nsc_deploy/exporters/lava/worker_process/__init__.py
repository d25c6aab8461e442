"""The script that runs inside the managed Python 3.10 environment of Lava."""
