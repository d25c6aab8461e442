"""Training of the systems with memory, in the three steps of Mem-DeepSC."""
