"""The edges do: one file per outside thing. They decide nothing that the core could decide.

What the agent needs too (process, git, signing, ledgers) keeps to the standard library and to Python 3.9, and is made
of plain blocking functions; the driver calls them from threads. The transports are asyncio.
"""
