"""What people type. Commands import what they need when they run, so that the quick ones are quick."""
