"""Torch modules counted in place: `count_module` reads what each layer gives out through forward hooks."""

from nsc_deploy.hooks.count import count_module

__all__ = ["count_module"]
