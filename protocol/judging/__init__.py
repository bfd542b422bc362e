"""What a score is made of: similarity, margins, fraud rules, kinds of work."""
