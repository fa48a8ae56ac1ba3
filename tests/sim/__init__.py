"""A fleet from a seed: the real core, simulated machines and runners, and laws checked after every event."""
