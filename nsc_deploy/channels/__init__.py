"""The wireless link: fading and noise, and how spikes or real values become symbols on it."""
