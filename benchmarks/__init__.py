"""Measurements of speed, beside the product: of the service against its peers, and of its parts."""
