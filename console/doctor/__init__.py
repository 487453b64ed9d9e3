"""`hubdeck doctor`: facts are collected once, and small pure checks judge them."""
