"""Methods compared in pairs, and runs compared with accepted ones."""
