"""Components of whole graphs: streams of vectors, one per token, in and out."""
