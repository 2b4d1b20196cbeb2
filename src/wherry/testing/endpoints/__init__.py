"""What the embedded server answers: one module for each kind of endpoint, put together in `app`."""
