"""The agents of a run, which act one step at a time: here, or exported to a process without this package."""
