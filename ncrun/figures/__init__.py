"""Figures from records and theory alone; torch is never imported here."""
