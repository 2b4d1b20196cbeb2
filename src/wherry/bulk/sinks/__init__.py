"""Sinks: where pages are kept.  `base` says what a sink must do."""
