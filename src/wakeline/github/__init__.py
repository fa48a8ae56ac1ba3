"""What is said to GitHub, as pure text: the workflows, a run's log, its summary, its deployments.

Nothing here opens a file, a socket or the environment. edges/github.py talks, cli/render_github.py prints.
"""
