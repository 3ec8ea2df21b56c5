"""How fast eskit is, as ratios against floors measured in the same run.

A floor does the least that the work can be done with: the same database, the same library, no
eskit. Both sides are measured in turn and each counts with its median, so a ratio holds on
another machine where a number of seconds would not. Nothing here is part of the test run.
"""
