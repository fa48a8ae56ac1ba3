"""`wakeline init`: what a repository looks like, and the fleet file that fits it."""

from wakeline.starting.facts import Repository
from wakeline.starting.looking import look
from wakeline.starting.writing import Draft, write

__all__ = ["Draft", "Repository", "look", "write"]
