"""For other libraries: what lets them use wherry; only the public names are used here."""
