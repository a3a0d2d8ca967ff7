"""What the side-by-side scenarios stand on: the brokers, the tools, and how transcripts are compared."""
