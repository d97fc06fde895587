"""From a captured float graph and an assignment to integers."""
