"""Measurements of the control plane, side by side with its peers: `python -m bench`."""
