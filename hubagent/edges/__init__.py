"""Doing; thin: no decisions, no retries, library errors mapped to ours."""
