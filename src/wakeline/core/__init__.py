"""The core decides. It has no clock, socket, disk, subprocess, log or random number: all of these are arguments.

It is sent to machines as part of the agent, so it keeps to the standard library and to Python 3.9 syntax.
"""
