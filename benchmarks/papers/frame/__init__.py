"""What the experiments of all papers share: parts, printed values, trainings with seeds, estimates, records, pages."""
