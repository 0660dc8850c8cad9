"""What requests and answers look like: pydantic models with an example each."""
