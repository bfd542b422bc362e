"""The verifier: the seats of this node in courts, and the audits of other seats, over what the docket tells."""
