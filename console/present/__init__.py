"""Model to rows, text and severity; pure: rich allowed, textual not."""
