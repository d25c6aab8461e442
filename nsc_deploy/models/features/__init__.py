"""Features of an image classifier sent over digital channels: backbones, codecs, their graphs."""
