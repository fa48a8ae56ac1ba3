"""Whole fleets from a seed: the real core and the real driver, simulated machines, links and time, and every law."""
