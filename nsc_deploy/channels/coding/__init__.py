"""Codes against errors of the channel, for systems that separate source and channel coding."""
