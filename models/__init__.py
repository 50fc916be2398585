"""Detection mathematics: assignment, losses, their explanation, and small detectors."""
