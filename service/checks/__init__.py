"""Loss-regression checks: baselines that git can merge, and what moved since they were recorded."""
