"""What the daemon carries with it: a module that is imported stays in memory for as long as it runs."""

import subprocess
import sys

UNWANTED = ("rich", "sqlite3", "email", "http", "xml", "tunnel.testing")
"""Each of them some megabytes, or sure to bring others like it."""


def test_the_daemon_imports_nothing_that_it_does_not_need() -> None:
    code = (
        "import sys, tunnel.cli.bare, tunnel.cli.up, tunnel.daemon.service\n"
        f"sys.exit(' '.join(name for name in {UNWANTED} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert done.stderr == "\n"
