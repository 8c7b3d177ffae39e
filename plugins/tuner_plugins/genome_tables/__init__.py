"""Tables of places in a genome as text (BED, GTF, GFF3), and names of chromosomes."""
