"""Where the pictures go. One module per kind of output."""
