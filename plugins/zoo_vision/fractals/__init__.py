"""Images of iterated function systems: pretraining data out of nothing but numbers.

After Kataoka et al., "Pre-training without natural images" (FractalDB, ACCV 2020; arXiv:2101.08515), with systems drawn
as by Anderson and Farrell, "Improving fractal pre-training" (WACV 2022; arXiv:2110.03091). A class is a system of
contractions of the plane; its images show the attractor with the system perturbed, turned, flipped, moved, coloured and
laid on another background. Everything is a function of one 64-bit number, on any device and in any size.
"""
