"""The call syntax of a model, derived from its chat template: probing, forms, grammar and parser."""
