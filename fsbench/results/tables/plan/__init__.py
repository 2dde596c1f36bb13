"""Tables and figures of how large a test must be to tell two methods apart."""
