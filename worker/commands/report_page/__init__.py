"""Reports as single HTML files: sections, tables and charts. This package knows no command. Read ``page`` first."""
