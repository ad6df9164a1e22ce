"""Measurements beside the product: of training, of serving against its peers, and of its parts."""
