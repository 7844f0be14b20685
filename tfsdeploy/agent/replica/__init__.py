"""The replica agent: makes its model server hold what the release wants, and tells the truth about it."""
