"""Numbers about models: metrics with intervals, paired tests, results that can be compared."""
