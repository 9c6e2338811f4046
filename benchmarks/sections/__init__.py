"""What is compared with what: each section takes its turns with its limits, round by round, and returns figures."""
