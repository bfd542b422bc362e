"""The court as every node sees it: one fold of each public case, and the rules that seats and auditors share."""
