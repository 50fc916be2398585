"""Figures, each from a command: speed as ratios measured side by side, and the acceptance runs."""
