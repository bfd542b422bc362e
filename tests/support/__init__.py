"""What several layers of tests share: scenes, services and doubles of people."""
