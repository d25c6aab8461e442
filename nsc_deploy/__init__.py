"""Take a receiver for neuromorphic semantic communications from training to a chip budget."""

__version__: str


def __getattr__(name: str) -> str:
    """The installed version, looked up when asked for: reading package metadata takes 40 ms."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("nsc-deploy")
    except PackageNotFoundError:  # running from a source tree that was never installed
        return "0+unknown"
