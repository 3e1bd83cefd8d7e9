"""What is known of one row or one picture, found by its id in whatever the stages have made so far."""
