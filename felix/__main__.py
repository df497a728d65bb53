"""Run the server's command line: ``python -m felix``."""

from felix.cli.server import main

if __name__ == "__main__":
    main()
