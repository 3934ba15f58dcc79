"""What carries out each statement."""
