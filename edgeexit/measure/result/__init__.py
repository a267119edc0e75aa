"""What a bench run gives: its parts, how they are made from raw timings, and the file format."""
