"""Tables and figures of what weaker annotations of the supports cost."""
