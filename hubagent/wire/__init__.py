"""What travels: the one place that agent and console share; pure."""
