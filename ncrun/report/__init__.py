"""A page about runs for a browser, without a network. It uses only records, figures and theory: no torch, no
configuration. plotly.js, from the optional extra `report`, draws the page."""
