"""What must hold, seen by running it: one module a line, each prints PASS with its figure, or fails."""
