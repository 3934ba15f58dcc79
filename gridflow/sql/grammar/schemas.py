"""The two schemas of a grid."""

#: The schema of all tables; in Ignite, of the tables that CREATE TABLE makes.
PUBLIC_SCHEMA = "PUBLIC"
#: The schema of system views; no statement creates anything in it.
SYSTEM_SCHEMA = "SYS"
