"""Measurements beside the comparison: each takes what was asked for and returns its figures and its bars."""
