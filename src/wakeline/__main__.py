"""`python -m wakeline` is `wakeline`."""

from wakeline.cli.main import main

main()
