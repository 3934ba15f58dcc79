"""A statement as text: where it begins and ends, where an error points, its parameters, what of it nobody is shown."""
