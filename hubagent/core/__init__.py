"""Decisions; pure: no clock, files, network, logging, asyncio or randomness."""
