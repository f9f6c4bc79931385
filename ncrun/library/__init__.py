"""The Python interface besides `measure`: predictions, recorded runs and training. Thin layers over the rooms below;
`ncrun` itself exports their names."""
