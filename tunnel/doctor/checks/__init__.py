"""The checks, each a small pure function: facts -> what is wrong, or None."""
