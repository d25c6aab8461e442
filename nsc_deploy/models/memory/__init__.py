"""Semantic communication with memory (Mem-DeepSC, Xie, Qin and Li 2023): its codecs, memory and masks."""
