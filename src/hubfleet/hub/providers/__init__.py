"""Logins at a provider, such as GitHub: one module each, and in `base` what they have in common."""
