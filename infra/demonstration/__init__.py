"""What `make run` shows: a small ISP whose month ends 20 seconds after the first start."""
