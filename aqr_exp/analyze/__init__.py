"""What the method does, in numbers and pictures; imports numpy at most until a picture is drawn."""
