"""A plugin for zoo, written the way a stranger would write one."""
