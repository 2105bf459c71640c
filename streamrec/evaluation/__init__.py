"""How good a bundle is: protocols, baselines, metrics."""
