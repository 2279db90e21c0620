"""The workflows of the mix. What must come of each stands in `plans.py`."""
