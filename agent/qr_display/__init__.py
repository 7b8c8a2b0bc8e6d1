"""What the driver sees: what the QR code says (`content`), the pictures (`screens`), and where they go (`display`, `outputs`)."""
