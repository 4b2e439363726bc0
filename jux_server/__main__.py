"""`python -m jux_server` is `jux-server`."""

from jux_server.cli import main

if __name__ == "__main__":
    main()
