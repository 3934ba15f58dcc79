"""Statements as text: beginnings and ends, parameters, places of errors, passwords to hide."""
