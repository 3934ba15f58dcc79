"""From a text to parsed statements, in the dialect of Ignite; nothing here has seen a grid."""
