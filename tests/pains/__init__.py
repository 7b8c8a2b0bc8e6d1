"""What people who run chargers suffer from, and the tests that show that this one does not make them."""
