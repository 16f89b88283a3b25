//! The memory limit is hit: the kernel's kill is told from anybody else's.
