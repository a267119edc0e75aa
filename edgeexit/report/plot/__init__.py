"""Figures: drawn as SVG without other packages, as PNG and PDF with matplotlib."""
