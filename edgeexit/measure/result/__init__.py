"""Results of a bench run: their parts, how they are made from raw timings, and the file format."""
