"""This package lets a bundle that BentoML 0.13 or an older one wrote load as it is: its manifest, and the names that its
code imports from ``bentoml``. Nothing outside of that bundle's own code and pickles sees these names."""
