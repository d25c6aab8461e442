"""Take a receiver for neuromorphic semantic communications from training to a chip budget."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("nsc-deploy")
except PackageNotFoundError:  # running from a source tree that was never installed
    __version__ = "0+unknown"
