"""From records to rows: every score and every paired difference of finished runs."""
