"""How good streamrec and its peers become in the same CPU minutes, on the same data, by the same metric."""
