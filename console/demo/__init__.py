"""`hubdeck demo`: a whole fleet on this machine, to look at, to drive and to break."""
