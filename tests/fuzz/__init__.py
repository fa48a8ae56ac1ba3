"""Bad bytes for everything that is read from outside: hypothesis in the quick tests, atheris in `./dev fuzz`."""
