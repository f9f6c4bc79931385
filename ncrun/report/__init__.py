"""Runs as one page that a browser shows without a network. From records, figures and theory alone: no torch, no
configuration. The page is drawn by plotly.js, of the optional extra `report`."""
