"""From a model to a bundle. Only a compile needs what is here; a board that runs bundles imports none of it."""
