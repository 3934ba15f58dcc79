"""A statement's names become tables and columns of a grid."""
