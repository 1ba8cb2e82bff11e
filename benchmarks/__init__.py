"""Speed: what the tests never assert. Every number in the documentation about speed comes from here."""
