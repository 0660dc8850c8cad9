"""Commands: business row, directory rows and account events in one transaction."""
