"""Cable TV: what is sold, who holds which box and card, and what a card may show. Pure."""
