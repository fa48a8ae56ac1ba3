"""Where core meets edges: reads the ledger, asks the core, does what it says, and hands back what happened.

No decision is made here that the core could make: this package waits, writes, opens connections and passes events on.
"""
