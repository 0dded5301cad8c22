"""Parts of the pages about models of hidden Markov models: what each holds of the exact belief, where, and whether it is used."""
