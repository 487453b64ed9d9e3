"""Who belongs to the fleet: founding it, inviting machines, changing the roster, handing it out."""
