"""The parts of the page on filter levels: answers, attention, and what can be read, for models of every level."""
