"""Gene programs and perturbation modules: clusters, scores, enrichment."""
