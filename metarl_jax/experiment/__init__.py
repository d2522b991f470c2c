"""The shell: everything that touches files, devices, signals and terminals."""
