"""The parts of the page `compiled_bp`: the construction, its accuracy, the ReLU variant, a walk along one sequence."""
