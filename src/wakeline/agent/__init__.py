"""What is sent to a machine: it runs one order there. Standard library alone, Python 3.9 and newer, plain functions."""
