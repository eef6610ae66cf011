"""Speed and size, measured by hand: nothing here runs in the tests."""
