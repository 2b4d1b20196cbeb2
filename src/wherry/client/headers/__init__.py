"""Header fields: which may be sent, which follow from the body, and what a response's mean."""
