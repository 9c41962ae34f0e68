"""Bonsai: grow tiny recurrent networks, prune them to a readable graph, and prove it right."""
