"""The real client on a simulated network and clock: a whole run follows from one number."""
