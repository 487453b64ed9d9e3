"""Asyncio glue, one file per core: wait, ask the core, carry out, feed back."""
