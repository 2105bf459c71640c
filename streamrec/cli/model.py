"""The verbs about models: train, evaluate."""
