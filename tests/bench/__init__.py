"""Figures, not verdicts: how fast real nodes are on this machine."""
