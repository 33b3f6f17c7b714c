"""Looking at packets from outside the daemon, as tcpdump does."""
