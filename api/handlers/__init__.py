"""Routes: they translate HTTP and leave every decision to ``api.services``."""
