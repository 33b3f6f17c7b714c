"""Measurements, run by hand (`make bench`); none of them passes or fails."""
