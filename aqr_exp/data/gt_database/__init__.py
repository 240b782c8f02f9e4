"""The database of ground-truth objects that training pastes into other samples."""
