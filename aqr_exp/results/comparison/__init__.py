"""Two arms or runs side by side: what differs in them, and what that did to the numbers."""
