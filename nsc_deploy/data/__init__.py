"""Where samples come from, and how sound becomes events."""

from nsc_deploy.data.config import DataConfig
from nsc_deploy.data.events import EventData, EventSet, validation_split
from nsc_deploy.data.load import load_events

__all__ = ["DataConfig", "EventData", "EventSet", "load_events", "validation_split"]
