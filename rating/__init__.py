"""What did this usage cost? Pure: records in, rated usage out; no IO, no clock, no chance."""
