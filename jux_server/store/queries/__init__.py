"""What is asked of the database. Every question says whose projects it is about; others do not exist for it."""
