"""The whole path in one call: of speech receivers, or of codecs for features."""

from nsc_deploy.demo.speech import Demonstration, Plan, demonstrate

__all__ = ["Demonstration", "Plan", "demonstrate"]
