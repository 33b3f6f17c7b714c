"""``python -m tunnel`` is the `tunnel` command."""

from tunnel.cli.main import main

if __name__ == "__main__":
    main()
