"""How good and how sound a trained model is."""
