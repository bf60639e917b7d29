"""Reports on the open orders, by format."""
