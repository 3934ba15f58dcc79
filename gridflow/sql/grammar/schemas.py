"""The schemas of a grid, which are two."""

#: The schema of tables. Ignite calls that of tables that SQL made so.
PUBLIC_SCHEMA = "PUBLIC"
#: The schema of system views. Nothing can be made in it.
SYSTEM_SCHEMA = "SYS"
