"""Widgets: each renders from one value."""
