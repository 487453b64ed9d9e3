"""Screens decide; widgets only show."""
